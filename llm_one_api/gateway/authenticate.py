"""First stage: whose key it is."""

from __future__ import annotations

from collections.abc import Sequence

from llm_one_api.errors import InvalidKey
from llm_one_api.plugins.interfaces import AuthPlugin
from llm_one_api.values import Caller, fingerprint

LONGEST_NAME = 200
"""Characters of a user's or a group's name that are kept, as in the config: a plugin may say longer ones."""
_WRONG = "Incorrect API key provided. Send the key that you were given for this gateway as `Authorization: Bearer KEY`."
_MISSING = (
    "You didn't provide an API key. Send the key that you were given for this gateway as `Authorization: Bearer KEY`."
)


class Authenticate:
    """Ask the auth plugins in their order; the first that knows the key decides."""

    def __init__(self, plugins: Sequence[AuthPlugin]) -> None:
        """Keep the plugins."""
        self._plugins = tuple(plugins)

    def __call__(self, api_key: str) -> Caller:
        """Tell who calls. Raises InvalidKey."""
        if not api_key:
            raise InvalidKey(_MISSING)
        told = None
        for plugin in self._plugins:
            result = plugin.authenticate(api_key)
            if result.authenticated:
                key = fingerprint(api_key)
                return Caller(
                    key=key,
                    user=result.user[:LONGEST_NAME] if result.user else key,
                    group=result.group and result.group[:LONGEST_NAME],
                    models=result.models,
                    admin=result.admin,
                    on_client_gone=result.on_client_gone,
                )
            told = told or result.error
        raise InvalidKey(told or _WRONG)
