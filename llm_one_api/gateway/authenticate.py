"""First stage: whose key it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llm_one_api.errors import InvalidKey
from llm_one_api.gateway.floods import Unguarded
from llm_one_api.plugins.interfaces import AuthPlugin
from llm_one_api.values import NOWHERE, Caller, Peer, fingerprint

LONGEST_NAME = 200
"""Characters of a user's or a group's name that are kept, as in the config: a plugin may say longer ones."""
_WRONG = "Incorrect API key provided. Send the key that you were given for this gateway as `Authorization: Bearer KEY`."
_MISSING = (
    "You didn't provide an API key. Send the key that you were given for this gateway as `Authorization: Bearer KEY`."
)


class Guard(Protocol):
    """What authenticate needs against those who try key after key."""

    def check(self, api_key: str, peer: Peer) -> None:
        """Let a request in to be asked whose key it has. Raises RateLimited."""

    def passed(self, api_key: str) -> None:
        """Take note of a key that is good."""

    def failure(self, api_key: str, peer: Peer) -> None:
        """Take note of a key that is none."""


class Authenticate:
    """Ask the auth plugins in their order; the first that knows the key decides."""

    def __init__(self, plugins: Sequence[AuthPlugin], guard: Guard | None = None) -> None:
        """Keep the plugins; *guard* decides who may be asked at all."""
        self._plugins = tuple(plugins)
        self._guard = guard or Unguarded()

    def __call__(self, api_key: str, peer: Peer = NOWHERE) -> Caller:
        """Tell who calls. Raises InvalidKey, or RateLimited before any plugin is asked."""
        guard = self._guard
        guard.check(api_key, peer)
        try:
            caller = self._ask(api_key)
        except InvalidKey:
            guard.failure(api_key, peer)
            raise
        guard.passed(api_key)
        return caller

    def _ask(self, api_key: str) -> Caller:
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
