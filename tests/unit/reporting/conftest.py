"""What tests of commands share that run in this process."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _logs_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep commands from setting the log's level, which would hold for the tests after them."""
    monkeypatch.setattr("llm_one_api.logs.configure", lambda *_: None)
