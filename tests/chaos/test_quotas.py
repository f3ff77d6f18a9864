"""What is left in the limit store, or stands there and not in the records, is found."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from llm_one_api.limits.charging import Charge
from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Admit, Amount
from tests.chaos.quotas import PREFIX, Quotas
from tests.harness.records import record
from tests.harness.services import Valkey

WINDOW = "all:total:ever"
RECORDS = [record(quota_windows=(WINDOW,), quota_tokens=170, quota_cost=Decimal("0.000315")), record(2)]
BOOKED = Amount(170, 1, 315_000)


@pytest.fixture
def store(redis_url: str) -> Iterator[LimitStore]:
    it = LimitStore(redis_url, PREFIX, timeout=5)
    it.recount(2, {WINDOW: BOOKED})
    yield it
    it.close()


@pytest.fixture
def quotas(redis_url: str) -> Quotas:
    return Quotas(redis_url)


def test_nothing_is_wrong_where_the_records_are_booked_and_nothing_else(store: LimitStore, quotas: Quotas) -> None:
    assert list(quotas.differences(RECORDS)) == []


def test_a_call_that_holds_something_still_is_found(store: LimitStore, quotas: Quotas) -> None:
    held = Admit(id="a", tokens=5, nanos=0, allow_unwhole=False, quotas=[(WINDOW, 10**6, -1, -1, 0, 1, 0, 2**52)])
    assert store.run([held])[0].code == "admitted"

    assert list(quotas.differences(RECORDS)) == [f"{WINDOW} has something reserved still: (5, 1, 0)"]


def test_a_call_that_is_pending_still_is_found(store: LimitStore, quotas: Quotas) -> None:
    store.settle("segment", [(10, Charge(id="a", windows=(WINDOW,), tokens=7))])

    assert list(quotas.differences(RECORDS)) == [f"{WINDOW} has something pending still: (7, 1, 0)"]


def test_a_sum_that_is_not_what_the_records_say_is_found_and_looked_into(
    store: LimitStore, quotas: Quotas, session_valkey: Valkey
) -> None:
    store.recount(2, {WINDOW: Amount(171, 1, 315_000), "user:b:total:ever": Amount(1, 1, 0)})

    found = list(quotas.differences(RECORDS))

    assert found == [
        f"{WINDOW} has booked (171, 1, 315000), the records say (170, 1, 315000)",
        "user:b:total:ever has booked (1, 1, 0), the records say (0, 0, 0)",
    ]
    with session_valkey.client() as client:
        assert b"quota.check" in client.lindex("oneapi:jobs", 0)


def test_a_window_that_is_not_there_is_found(redis_url: str, quotas: Quotas) -> None:
    assert list(quotas.differences(RECORDS)) == [f"{WINDOW} has booked None, the records say (170, 1, 315000)"]


def test_a_run_in_which_nothing_is_charged_shows_nothing(redis_url: str, quotas: Quotas) -> None:
    assert list(quotas.differences([record()])) == ["no record is charged to any quota"]
