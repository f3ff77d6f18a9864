"""What `/health/ready` says, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flask import Flask
from structlog.testing import capture_logs

from llm_one_api.gateway.authenticate import Authenticate
from llm_one_api.plugins.interfaces import AuthPlugin, AuthResult, PluginConfig
from llm_one_api.web.health import Condition, register
from llm_one_api.web.lookout import Figures


class Auth(AuthPlugin):
    """Answers as a test says."""

    def __init__(self, answer: Callable[[], AuthResult]) -> None:
        super().__init__(PluginConfig())
        self.answer = answer

    def authenticate(self, api_key: str) -> AuthResult:
        return self.answer()


FIGURES = {
    "journal_bytes": 1200,
    "relay_lag": 3.5,
    "oldest_unacked": None,
    "dead_letters": 0,
    "lost_records": 7,
    "refused_records": None,
    "unsettled": None,
    "limits_away_since": None,
    "admitted_without_limits": None,
    "overdue_jobs": None,
}


def ready(answer: Callable[[], AuthResult], *, missing: Sequence[str] = ("redis",), because: Sequence[str] = ()) -> Any:
    """Ask with a key, while Redis is away or something else is as told."""
    app, condition = Flask(__name__), Condition()
    condition.not_ready, condition.missing, condition.because = None, [*missing], [*because]
    condition.figures = Figures(journal_bytes=1200, relay_lag=3.5, dead_letters=0, lost_records=7)
    register(app, condition, Authenticate([Auth(answer)]), lambda: False)
    response = app.test_client().get("/health/ready", headers={"Authorization": "Bearer sk-1"})
    return response.status_code, response.json


@pytest.mark.parametrize(
    ("authenticated", "told"),
    [(True, {"status": "degraded", "missing": ["redis"], "because": [], **FIGURES}), (False, {"status": "degraded"})],
)
def test_what_is_missing_and_how_much_there_is_is_told_to_those_with_a_key_only(
    authenticated: bool, told: dict[str, Any]
) -> None:
    assert ready(lambda: AuthResult(authenticated=authenticated)) == (200, told)


@pytest.mark.parametrize(
    ("missing", "because", "status"),
    [([], [], "ok"), (["relay"], [], "degraded"), ([], ["dead_letters"], "degraded")],
)
def test_it_is_degraded_for_what_is_away_and_for_what_somebody_has_to_look_at(
    missing: list[str], because: list[str], status: str
) -> None:
    code, told = ready(lambda: AuthResult(authenticated=True), missing=missing, because=because)

    assert (code, told["status"], told["missing"], told["because"]) == (200, status, missing, because)


def test_an_auth_plugin_that_raises_takes_nothing_from_readiness() -> None:
    def broken() -> AuthResult:
        raise RuntimeError("sk-1 is not to be shown")

    with capture_logs() as logs:
        answer = ready(broken)

    assert answer == (200, {"status": "degraded"})
    assert [(line["event"], line["kind"]) for line in logs] == [("request.failed", "RuntimeError")]
    assert "sk-1" not in str(logs)
