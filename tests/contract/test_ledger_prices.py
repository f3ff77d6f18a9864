"""Costs in the ledger, on SQLite and on PostgreSQL: summed exactly, listed where they are missing, given later."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils import uuid7

from llm_one_api.books.reprice import Sums, reprice
from llm_one_api.pricing import Entry, PriceList, Pricer, Rates
from llm_one_api.pricing.table import Table
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.prices import Change
from llm_one_api.values import Usage, UsageRecord
from tests.harness.processes import wait_until
from tests.harness.records import bare
from tests.harness.records import record as example

AT = datetime(2026, 11, 24, 10, tzinfo=UTC)
TODAY = date(2026, 11, 24)
ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


def record(**changes: Any) -> UsageRecord:
    """A call of 100 tokens that has no cost."""
    fields = {
        "request_id": str(uuid7()), "at": AT, "model": "gpt-4", "upstream_model": "gpt-4", "cost": None,
        "usage": Usage(prompt_tokens=40, completion_tokens=60, total_tokens=100),
    }  # fmt: skip
    return example(**{**fields, **changes})


def priced(cost: str, **changes: Any) -> UsageRecord:
    return record(cost=Decimal(cost), price_source="configured", price_date=TODAY, **changes)


def pricer(*entries: tuple[str, str, str | None, str | None]) -> Pricer:
    """Prices of a token, as (model, price, first day, last day); no public ones."""
    return Pricer(
        PriceList(
            Entry(
                name=name,
                since=date.fromisoformat(since) if since else None,
                until=date.fromisoformat(until) if until else None,
                rates=Rates.of(input=Decimal(price), output=Decimal(price)),
            )
            for name, price, since, until in entries
        ),
        UTC,
        table=Table(list),
    )


GPT_4 = ("gpt-4", "0.001", None, None)


def costs(ledger: Ledger) -> list[tuple[Decimal | None, str | None, date | None]]:
    kept = (each.record for each in ledger.read(0, 10_000))
    return [(each.cost, each.price_source, each.price_date) for each in kept]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.decimals(0, 999_999, places=12), min_size=1, max_size=20))
def test_a_cost_comes_back_to_the_last_digit_and_sums_are_exact(ledger: Ledger, amounts: list[Decimal]) -> None:
    model = str(uuid7())
    last = ledger.last_seq()

    ledger.ingest([priced(str(amount), model=model) for amount in amounts])

    assert [each.record.cost for each in ledger.read(last, 100)] == amounts
    [found] = [each for each in ledger.summary(*ALWAYS) if each.model == model]
    assert found.cost == sum(amounts)


def test_sums_go_beyond_what_a_whole_number_of_the_database_holds(ledger: Ledger) -> None:
    ledger.ingest([priced("999999.999999999999") for _ in range(50)])

    [found] = ledger.summary(*ALWAYS)

    assert found.cost == 50 * Decimal("999999.999999999999")


def test_the_summary_tells_calls_with_and_without_a_cost_apart(ledger: Ledger) -> None:
    ledger.ingest([
        priced("0.25"), priced("0.5", outcome="truncated"), priced("0"), record(), record(usage_source="estimated"),
        bare(1, model="gpt-4"), bare(2, model="m"),
    ])  # fmt: skip

    some, none = ledger.summary(*ALWAYS)

    assert (some.model, some.cost, some.requests_priced, some.requests_unpriced) == ("gpt-4", Decimal("0.75"), 3, 2)
    assert (none.model, none.cost, none.requests_priced, none.requests_unpriced) == ("m", None, 0, 0)


def test_the_models_of_calls_without_a_cost_are_listed_the_busiest_first(ledger: Ledger) -> None:
    ledger.ingest([
        record(service_tier="flex"),
        *(record(response_model="gpt-4-0613", at=AT + timedelta(hours=n)) for n in range(3)),
        priced("1"),
        bare(),
    ])  # fmt: skip

    first, second = ledger.prices.missing()

    assert (first.calls, first.prompt_tokens, first.completion_tokens, first.first) == (3, 120, 180, AT)
    assert (first.newest.response_model, first.newest.at) == ("gpt-4-0613", AT + timedelta(hours=2))
    assert (second.calls, second.newest.service_tier, second.newest.upstream) == (1, "flex", "openai")
    assert [each.calls for each in ledger.prices.missing(AT + timedelta(hours=1))] == [2]
    assert ledger.prices.missing(AT + timedelta(hours=3)) == []


def test_calls_are_given_the_price_that_was_valid_on_their_day(ledger: Ledger) -> None:
    days = [AT + timedelta(days=n) for n in (-2, -1, 0, 1)]
    ledger.ingest([record(at=at) for at in days])
    prices = pricer(("gpt-4", "0.001", "2026-11-23", "2026-11-23"), ("gpt-4", "0.002", "2026-11-24", None))

    done = reprice(ledger.prices, prices.price, *ALWAYS)

    assert costs(ledger) == [
        (None, None, None),
        (Decimal("0.1"), "configured", date(2026, 11, 23)),
        (Decimal("0.2"), "configured", TODAY),
        (Decimal("0.2"), "configured", TODAY),
    ]
    assert (done.priced, done.unpriced) == (Sums(calls=3, after=Decimal("0.5")), 1)


def test_calls_that_have_a_cost_keep_it_and_calls_without_usage_get_none(ledger: Ledger) -> None:
    ledger.ingest([priced("7"), priced("0"), bare(model="gpt-4")])
    before = costs(ledger)

    done = reprice(ledger.prices, pricer(GPT_4).price, *ALWAYS)

    assert costs(ledger) == before
    assert (done.priced.calls, done.kept, done.unpriced) == (0, 0, 0)


def test_all_calls_are_priced_anew_where_that_is_asked_for(ledger: Ledger) -> None:
    unheard_of = priced("5", upstream_model="no longer", model="known")
    ledger.ingest([priced("7"), priced("0.1"), unheard_of, record()])

    done = reprice(ledger.prices, pricer(GPT_4).price, *ALWAYS, priced=True)

    assert [cost for cost, _, _ in costs(ledger)] == [Decimal("0.1"), Decimal("0.1"), Decimal(5), Decimal("0.1")]
    assert done.changed == {"gpt-4": Sums(calls=1, before=Decimal(7), after=Decimal("0.1"))}
    assert done.priced == Sums(calls=1, after=Decimal("0.1"))
    assert (done.kept, done.unpriced, done.overtaken) == (2, 0, 0)


def test_a_second_run_finds_nothing_to_do(ledger: Ledger) -> None:
    ledger.ingest([record(), record(), priced("7")])
    reprice(ledger.prices, pricer(GPT_4).price, *ALWAYS, priced=True)
    after = costs(ledger)

    again = reprice(ledger.prices, pricer(GPT_4).price, *ALWAYS, priced=True)

    assert costs(ledger) == after
    assert (again.priced.calls, again.changed, again.kept) == (0, {}, 3)


def test_a_dry_run_tells_the_same_and_changes_nothing(ledger: Ledger) -> None:
    ledger.ingest([record(), priced("7")])
    before = costs(ledger)

    dry = reprice(ledger.prices, pricer(GPT_4).price, *ALWAYS, priced=True, dry_run=True)

    assert costs(ledger) == before
    assert dry == reprice(ledger.prices, pricer(GPT_4).price, *ALWAYS, priced=True)


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_every_call_of_the_time_is_seen_once_whatever_the_page_and_the_order_of_arrival(
    ledger: Ledger, page: int
) -> None:
    moments = [AT + timedelta(minutes=minute) for minute in (5, 1, 3, 3, 3, 1, 9, 0, 10)]
    ledger.ingest([record(at=at) for at in moments])
    seen: list[str] = []

    def price(call: UsageRecord) -> UsageRecord:
        seen.append(call.request_id)
        return pricer(GPT_4).price(call)

    done = reprice(ledger.prices, price, AT + timedelta(minutes=1), AT + timedelta(minutes=10), page=page)

    expected = [each.record.request_id for each in ledger.read(0, 100) if 1 <= each.record.at.minute < 10]
    assert sorted(seen) == sorted(expected)
    assert done.priced.calls == len(expected) == 7
    assert [cost is None for cost, _, _ in costs(ledger)] == [at.minute in {0, 10} for at in moments]


def test_a_call_that_somebody_else_priced_meanwhile_keeps_that_cost(ledger: Ledger) -> None:
    ledger.ingest([record(), record()])
    [first, _] = ledger.read(0, 2)

    def price(call: UsageRecord) -> UsageRecord:
        if call.request_id == first.record.request_id:
            theirs = Change(seq=first.seq, before=None, cost=Decimal(9), price_source="configured", price_date=TODAY)
            ledger.prices.change([theirs])
        return pricer(GPT_4).price(call)

    done = reprice(ledger.prices, price, *ALWAYS)

    assert [cost for cost, _, _ in costs(ledger)] == [Decimal(9), Decimal("0.1")]
    assert (done.priced, done.overtaken) == (Sums(calls=1, after=Decimal("0.1")), 1)


def test_a_change_of_a_call_that_is_gone_is_not_made(ledger: Ledger) -> None:
    gone = Change(seq=77, before=None, cost=Decimal(9), price_source="configured", price_date=None)

    assert ledger.prices.change([gone]) == set()
    assert ledger.prices.change([]) == set()


def test_workers_go_on_writing_while_calls_are_priced(ledger: Ledger, url: str) -> None:
    ledger.ingest([record() for _ in range(400)])
    stop, kept = threading.Event(), 0
    refused: list[Exception] = []

    def write() -> None:
        nonlocal kept
        mine = Ledger(url)
        while not stop.wait(0.002):  # ingests have pauses: a lock that is never free nobody gets
            try:
                kept += mine.ingest([priced("1")]).new
            except Exception as error:
                refused.append(error)
        mine.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: kept, what="the worker writes")
        done = reprice(ledger.prices, pricer(GPT_4).price, *ALWAYS, page=20)
    finally:
        stop.set()
        writer.join()

    assert done.priced.calls == 400
    assert refused == []
    assert [cost for cost, _, _ in costs(ledger)] == [Decimal("0.1")] * 400 + [Decimal(1)] * kept


def test_a_priced_record_is_the_same_by_every_way_out(ledger: Ledger) -> None:
    kept = msgspec.structs.replace(priced("0.000000000001"), price_date=date(2026, 1, 31))

    ledger.ingest([msgspec.json.decode(msgspec.json.encode(kept), type=UsageRecord)])

    ways: Sequence[UsageRecord] = [
        ledger.read(0, 1)[0].record, ledger.newest(1)[0],
        ledger.prices.page(*ALWAYS, priced=True)[0].record,
    ]  # fmt: skip
    assert list(ways) == [kept] * 3
