"""A golden year as Prometheus is told of it: what adding up by hand gives, and counters that never fall."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from llm_one_api.books.jobs import Planned
from llm_one_api.metrics.labels import Known
from llm_one_api.metrics.names import chosen
from llm_one_api.metrics.spreads import BOUNDS
from llm_one_api.metrics.sums import FromLedger
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.prices import Change
from llm_one_api.values import UsageRecord
from tests.harness import golden
from tests.harness.metrics import Samples, counters, samples, total, value

MODELS, UPSTREAMS = ("gpt-a", "gpt-b"), ("north", "south")
"""What the config knows; `gpt-c` and `west` are in the ledger all the same."""
STAGES = ("half", "whole", "closed", "priced anew", "dearer", "old")


class Life(NamedTuple):
    """What was told of a ledger at each stage."""

    told: dict[str, Samples]
    made: dict[str, Sequence[UsageRecord]]


@pytest.fixture(scope="module")
def life(module_url: str) -> Life:
    return live(module_url)


def live(url: str) -> Life:
    ledger = Ledger(url)
    made, it = golden.calls(200), Life({}, {})

    def look(stage: str) -> None:
        it.told[stage], it.made[stage] = told(ledger), [kept.record for kept in ledger.read(0, len(made))]

    ledger.ingest(made[: len(made) // 2])
    look("half")
    ledger.ingest(made[len(made) // 2 :])
    look("whole")
    for period in ledger.closing.due(golden.BERLIN, golden.UNTIL)[::12]:
        ledger.closing.close(period)
    look("closed")
    price(ledger, Decimal("0.000000001"))
    look("priced anew")
    price(ledger, Decimal("0.5"))
    look("dearer")
    made_at_last = it.made["dearer"]
    ledger.retention.delete_records(golden.UNTIL, ledger.last_seq(), limit=len(made))
    since = None
    while (gone := ledger.retention.delete_quarters(golden.UNTIL, since=since)).newest:
        since = gone.newest
    look("old")
    assert it.made["old"] == []
    it.made["old"] = made_at_last
    ledger.close()
    return it


def price(ledger: Ledger, cost: Decimal) -> None:
    """Give every fifth call a cost, whether it had none, a lower or a higher one."""
    changes = [
        Change(seq=each.seq, before=each.record.cost, cost=cost, price_source="configured", price_date=None)
        for each in ledger.read(0, 10_000)
        if each.seq % 5 == 0 and each.record.usage_source != "none"
    ]
    assert ledger.prices.change(changes)


def told(ledger: Ledger) -> Samples:
    read = FromLedger(
        ledger,
        known=Known(MODELS, UPSTREAMS),
        wanted=chosen(None, users=True),
        plugins=("log",),
        jobs=(Planned(name="audit", every="day"),),
        quotas=lambda _ledger, _now: (),
        zone=golden.BERLIN,
    )
    return samples(read())


def fold(name: str, found: Any) -> str:
    """Give the label of a dimension's value."""
    if isinstance(found, bool):
        return str(found).lower()
    known = {"model": MODELS, "upstream": (*UPSTREAMS, "")}.get(name)
    return found if known is None or found in known else "other"


def grouped(made: Sequence[UsageRecord], *names: str) -> dict[tuple[str, ...], dict[str, Any]]:
    groups: dict[tuple[str, ...], list[UsageRecord]] = {}
    for call in made:
        groups.setdefault(tuple(fold(name, golden.dimension(call, name)) for name in names), []).append(call)
    return {key: golden.figures(group) for key, group in groups.items()}


@pytest.mark.parametrize("stage", STAGES)
def test_every_counter_is_what_adding_up_by_hand_gives(life: Life, stage: str) -> None:
    of, made = life.told[stage], life.made[stage]

    for (model, endpoint, stream, upstream), figures in grouped(
        made, "model", "endpoint", "stream", "upstream"
    ).items():
        labels = {"model": model, "endpoint": endpoint, "stream": stream, "upstream": upstream}
        for outcome, calls in figures["outcomes"].items():
            assert total(of, "llm_request_total", **labels, outcome=outcome) == calls
        for kind, name in (("durations", "request_duration_seconds"), ("ttfts", "time_to_first_token_seconds")):
            times = figures[kind]
            assert total(of, f"llm_{name}_count", **labels) == len(times)
            assert total(of, f"llm_{name}_sum", **labels) == pytest.approx(sum(times), abs=1e-6)
            mine = {key: n for key, n in of.items() if key[0] == f"llm_{name}_bucket" and key[1] >= {*labels.items()}}
            for bound in BOUNDS:
                least = total(mine, f"llm_{name}_bucket", le=str(bound))
                assert least == sum(each <= bound for each in times)
            assert total(mine, f"llm_{name}_bucket", le="+Inf") == len(times)
    for (model, upstream), figures in grouped(made, "model", "upstream").items():
        labels = {"model": model, "upstream": upstream}
        assert total(of, "llm_token_usage_total", **labels, type="prompt") == figures["prompt_tokens"]
        assert total(of, "llm_token_usage_total", **labels, type="completion") == figures["completion_tokens"]
        assert total(of, "llm_token_part_total", **labels, part="reasoning") == figures["reasoning_tokens"]
        assert total(of, "llm_priced_request_total", **labels) == figures["priced"]
    for (model,), figures in grouped(made, "model").items():
        assert total(of, "llm_attempt_total", model=model) == figures["attempts"]
        assert total(of, "llm_sdk_retry_total", model=model) == figures["sdk_retries"]
        assert total(of, "llm_estimated_request_total", model=model) == figures["estimated"]
    for (user,), figures in grouped(made, "user").items():
        assert value(of, "llm_user_request_total", user=user) == figures["requests"]
        if stage in {"half", "whole", "closed"}:
            assert value(of, "llm_user_cost_usd_total", user=user) == pytest.approx(float(figures["cost"]), rel=1e-12)
    assert total(of, "llm_request_total") == len(made)


@pytest.mark.parametrize("stage", ["half", "whole", "closed"])
def test_costs_are_those_of_the_calls_as_long_as_none_was_lowered(life: Life, stage: str) -> None:
    of, made = life.told[stage], life.made[stage]

    for (model, upstream), figures in grouped(made, "model", "upstream").items():
        labels = {"model": model, "upstream": upstream}
        assert total(of, "llm_unpriced_request_total", **labels) == figures["unpriced"]
        assert total(of, "llm_cost_usd_total", **labels) == pytest.approx(float(figures["cost"] or 0), rel=1e-12)


def test_no_counter_falls_through_late_calls_lower_prices_and_deletion(life: Life) -> None:
    stages = [counters(life.told[stage]) for stage in STAGES]

    for before, after in pairwise(stages):
        assert {key for key, number in before.items() if after.get(key, -1.0) < number} == set()


def test_what_was_taken_back_of_a_cost_stays_counted_and_what_comes_is_added(life: Life) -> None:
    def cost(stage: str) -> float:
        return total(life.told[stage], "llm_cost_usd_total")

    def real(stage: str) -> float:
        return float(sum(call.cost for call in life.made[stage] if call.cost is not None))

    lowered = real("closed") > real("priced anew")
    added = real("dearer") - real("priced anew")

    assert lowered
    assert cost("closed") <= cost("priced anew")
    assert cost("dearer") - cost("priced anew") == pytest.approx(added, rel=1e-9)
    assert total(life.told["old"], "llm_unpriced_request_total") == total(
        life.told["whole"], "llm_unpriced_request_total"
    )
