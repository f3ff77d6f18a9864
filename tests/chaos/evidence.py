"""Evidence of one call of each kind, as it should be: for tests to tamper with."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_one_api.values import Usage, UsageRecord
from tests.harness.bookkeeper import KINDS, kind_of, provider_id, used
from tests.harness.judge import Evidence
from tests.harness.load import Answer
from tests.harness.records import bare

SENT = [f"call.{kind}-{number}" for number, kind in enumerate(KINDS)]
_STATUS = {"bad": 400, "limited": 429, "down": 500}


def answer(name: str, **changes: Any) -> Answer:
    status = _STATUS.get(kind_of(name), 200)
    plain = Answer(name, KINDS[kind_of(name)].seen, status, began=100.0, seconds=0.2, overhead=1.0, id=f"id-{name}")
    return plain._replace(**changes)


def record(name: str, **changes: Any) -> UsageRecord:
    outcome = KINDS[kind_of(name)].outcome
    usage, source = Usage(), "none"
    if outcome == "success":
        prompt, completion = used(name)
        source = "estimated" if prompt is None else "reported"
        usage = Usage(prompt_tokens=prompt or 9, completion_tokens=completion or 3)
    made = bare(
        request_id=f"id-{name}", end_user=name, outcome=outcome, usage=usage, usage_source=source,
        provider_request_id=provider_id(name), quota_windows=("all:total:ever",),
        quota_tokens=(usage.prompt_tokens or 0) + (usage.completion_tokens or 0),
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def evidence() -> Evidence:
    """One call of each kind, and all as it should be."""
    return Evidence(
        sent=SENT,
        answers=[answer(name) for name in SENT],
        received=dict.fromkeys(SENT, 1),
        finished={name: used(name) for name in SENT if KINDS[kind_of(name)].outcome == "success"},
        seconds=dict.fromkeys(SENT, 0.19),
        records=[record(name) for name in SENT],
    )
