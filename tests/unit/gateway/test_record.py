"""What the end of a call gives back of its limits."""

from __future__ import annotations

import pytest

from llm_one_api.dialects.usage import Measured
from llm_one_api.gateway.record import Record
from llm_one_api.stores.journal.entries import Opened
from llm_one_api.targets import Target, Upstream
from llm_one_api.values import Call, Caller, Outcome, Permit, Usage, UsageRecord


class Journal:
    """Keeps nothing."""

    full = False

    def open(self, opened: Opened) -> None:
        """Have it."""

    def end(self, record: UsageRecord) -> None:
        """Have it."""

    def close(self, record: UsageRecord) -> None:
        """Have it."""


class Grant:
    """Keeps what was used."""

    permit = Permit()

    def __init__(self) -> None:
        self.used: list[Usage | None] = []

    def release(self, usage: Usage | None) -> None:
        self.used.append(usage)


TOLD = Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7)
NOTHING = Usage(total_tokens=0)


@pytest.mark.parametrize(
    ("outcome", "told", "used"),
    [
        ("success", TOLD, TOLD),
        ("success", None, None),
        ("upstream_error", TOLD, TOLD),
        ("upstream_error", None, NOTHING),
        ("client_error", None, NOTHING),
        ("timeout", None, None),
        ("client_gone", None, None),
        ("aborted", None, None),
    ],
)
def test_a_call_that_none_answered_used_nothing_of_its_minute_and_nobody_knows_of_others(
    outcome: Outcome, told: Usage | None, used: Usage | None
) -> None:
    grant = Grant()
    call = Call(id="1", started=0.0, endpoint="chat", api_key="sk", path="/", body=None)  # type: ignore[arg-type]
    target = Target(model="m", upstream_model="m", upstream=Upstream(name="u", base_url="http://u"))
    entry = Record(Journal()).open(call, Caller(key="k", user="u"), target, grant, stream=False, end_user=None)

    entry.close(outcome, status=500, measured=Measured(told))
    entry.close("success", status=200, measured=Measured(TOLD))

    assert grant.used == [used]
