"""Records leave the relay with what they cost; a price that fails costs them nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from llm_one_api.books.relay import Relay
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.values import UsageRecord
from tests.harness.calls import Clock, Sink, kill, opened, record, settle


def dear(record: UsageRecord) -> UsageRecord:
    """A price of one dollar a token, of calls that have any."""
    tokens = record.usage.total_tokens
    if record.cost is not None or tokens is None:
        return record
    return msgspec.structs.replace(
        record, cost=Decimal(tokens), price_source="configured", price_date=date(2026, 11, 24)
    )


def fails(record: UsageRecord) -> UsageRecord:
    raise LookupError(record.model)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    it = Journal(tmp_path)
    yield it
    kill(it)


@pytest.fixture
def relay(tmp_path: Path, sink: Sink, clock: Clock) -> Callable[..., Relay]:
    def make(price: Callable[[UsageRecord], UsageRecord]) -> Relay:
        return Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks, price=price, clock=clock)

    return make


def test_each_record_is_sent_with_its_cost(relay: Callable[..., Relay], journal: Journal, sink: Sink) -> None:
    journal.close(record("a", 3))
    journal.close(msgspec.structs.replace(record("b", 5), cost=Decimal(0)))

    settle(relay(dear))

    assert sink.records["a"] == dear(record("a", 3))
    assert sink.records["b"].cost == 0


def test_a_record_that_is_read_again_to_be_sent_again_has_its_cost_too(
    relay: Callable[..., Relay], journal: Journal, sink: Sink, clock: Clock
) -> None:
    journal.close(record("a", 3))
    journal.open(opened("b"))
    sink.acking = False
    it = relay(dear)
    it.turn(urgent=True)

    kill(journal)
    for _ in range(3):
        clock.now += 100
        it.turn(urgent=True)

    copies = [each for _, records, _ in sink.batches for each in records if each.request_id == "a"]
    assert len(copies) >= 2
    assert {each.cost for each in copies} == {Decimal(3)}
    assert sink.records["b"].cost is None
    assert sink.records["b"].outcome == "aborted"


def test_prices_that_fail_leave_the_records_without_a_cost_and_say_so_once_a_minute(
    relay: Callable[..., Relay], journal: Journal, sink: Sink, clock: Clock
) -> None:
    it = relay(fails)

    with capture_logs() as said:
        for number in range(50):
            journal.close(record(str(number)))
        settle(it)
        clock.now += 61
        journal.close(record("late"))
        settle(it)

    assert sink.ids == [*map(str, range(50)), "late"]
    assert {each.cost for each in sink.records.values()} == {None}
    assert [(event["request_id"], event["error"]) for event in said if event["event"] == "relay.unpriced"] == [
        ("0", "LookupError"), ("late", "LookupError"),
    ]  # fmt: skip
