"""What auth plugins say of a caller, as it is kept."""

from __future__ import annotations

from llm_one_api.gateway.authenticate import LONGEST_NAME, Authenticate
from llm_one_api.plugins.interfaces import AuthPlugin, AuthResult, PluginConfig


class Wordy(AuthPlugin):
    """Knows everybody by a name that no table takes."""

    def authenticate(self, api_key: str) -> AuthResult:
        return AuthResult(authenticated=True, user=api_key * 1000, group="g" * 1000)


def test_a_name_that_is_too_long_is_cut_so_that_the_call_can_be_kept() -> None:
    authenticate = Authenticate([Wordy(PluginConfig())])

    caller = authenticate("sk-1")

    assert (caller.user, caller.group) == (("sk-1" * 1000)[:LONGEST_NAME], "g" * LONGEST_NAME)
