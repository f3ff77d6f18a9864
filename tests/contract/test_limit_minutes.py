"""Rates, on each server: in no 60 seconds more than the limit, however calls fall."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Admit, Done, Reply
from tests.harness.services import Valkey

REJECT = 0
SCOPE = "user:alice"


def calls(call: str, *rates: tuple[str, str, int, int], tokens: int = 0) -> Admit:
    """Ask for a call under *rates*: scope, kind, limit, amount."""
    return Admit(id=call, tokens=tokens, nanos=0, allow_unwhole=False, rates=[(*rate, REJECT) for rate in rates])


def ask(store: LimitStore, *rates: tuple[str, str, int, int]) -> Reply:
    return store.run([calls("x", *rates)])[0]


def whole_second(store: LimitStore) -> None:
    """Move the clock so that a second has just begun: what follows at once is in the same one, for 900 ms."""
    store.ahead_ms += 1000 - store.run([calls("clock")])[0].now_ms % 1000


def test_the_rate_that_is_nearest_to_its_end_is_told(store: LimitStore) -> None:
    rates = [(SCOPE, "rpm", 10, 1), ("all", "rpm", 3, 1), (SCOPE, "tpm", 500, 80), ("all", "tpm", 5000, 80)]

    reply = ask(store, *rates)

    assert list(reply.requests)[:2] == [3, 2]
    assert list(reply.tokens)[:2] == [500, 420]
    assert 60_000 <= reply.requests[2] <= 61_000


def test_a_call_without_rates_is_told_of_none(store: LimitStore) -> None:
    reply = ask(store)

    assert (list(reply.requests), list(reply.tokens)) == ([], [])


def test_a_refused_call_is_told_which_rate_and_when_to_come_again(store: LimitStore) -> None:
    whole_second(store)
    rates = [("all", "rpm", 100, 1), (SCOPE, "rpm", 100, 1), ("all", "tpm", 10**6, 60), (SCOPE, "tpm", 100, 60)]
    ask(store, *rates)
    store.ahead_ms += 10_000

    reply = ask(store, *rates)

    assert (reply.code, reply.kind, reply.index, reply.limit, reply.used) == ("refused", "tpm", 1, 100, 60)
    assert 40_000 < reply.retry_ms <= 51_000
    assert list(reply.tokens)[:2] == [100, 40]


def test_it_may_come_again_when_it_was_told_to(store: LimitStore) -> None:
    rate = (SCOPE, "rpm", 2, 1)
    ask(store, rate)
    store.ahead_ms += 20_000
    ask(store, rate)
    retry = ask(store, rate).retry_ms

    store.ahead_ms += retry - 5000
    early = ask(store, rate).code
    store.ahead_ms += 5000

    assert (early, ask(store, rate).code) == ("refused", "admitted")


def test_what_was_used_late_in_its_second_counts_for_all_of_60_seconds(store: LimitStore) -> None:
    rate = (SCOPE, "rpm", 1, 1)
    whole_second(store)
    store.ahead_ms += 800
    used_at = ask(store, rate).now_ms
    free_at = (used_at // 1000 + 61) * 1000

    store.ahead_ms += 59_300
    early = ask(store, rate)
    store.ahead_ms += 2000
    late = ask(store, rate)

    assert early.code == "refused" or early.now_ms >= free_at  # should the test have been stopped for so long
    assert late.code == ("admitted" if early.code == "refused" else "refused")


def test_what_a_call_used_takes_the_place_of_what_it_was_taken_to_use(store: LimitStore) -> None:
    whole_second(store)
    first, second = store.run([calls("1", (SCOPE, "tpm", 100, 60)), calls("2", (SCOPE, "tpm", 100, 40))])
    bucket = first.now_ms // 1000

    store.run(
        [
            Done(id="1", concurrent=[], corrections=[(SCOPE, bucket, -50)]),
            Done(id="2", concurrent=[], corrections=[(SCOPE, bucket, 25), (SCOPE, bucket - 7, 1000)]),
        ]
    )

    assert second.code == "admitted"
    assert store.minutes([(SCOPE, "tpm")])[0].used == 75


def test_a_correction_makes_no_minute_negative(store: LimitStore) -> None:
    reply = ask(store, (SCOPE, "tpm", 100, 60))

    store.run([Done(id="x", concurrent=[], corrections=[(SCOPE, reply.now_ms // 1000, -1000)])])

    assert store.minutes([(SCOPE, "tpm")])[0].used == 0


def test_a_clock_that_is_set_back_by_an_hour_does_not_shut_callers_out_for_it(store: LimitStore) -> None:
    store.ahead_ms = 3_600_000
    ask(store, (SCOPE, "rpm", 1, 1))
    store.ahead_ms = 0

    assert ask(store, (SCOPE, "rpm", 1, 1)).code == "admitted"


def test_a_minute_that_nobody_uses_is_forgotten(store: LimitStore, limit_server: Valkey) -> None:
    ask(store, (SCOPE, "rpm", 5, 1))

    with limit_server.client() as client:
        assert 60 < client.ttl(f"t:limits:r:{SCOPE}:rpm") < 180


gaps = st.lists(st.one_of(st.integers(0, 1500), st.integers(0, 20_000), st.integers(55_000, 65_000)), max_size=40)


def test_never_more_than_the_limit_in_any_60_seconds(store: LimitStore) -> None:
    scopes = iter(range(10**6))

    @settings(max_examples=60, deadline=None, database=None)
    @given(gaps=gaps, limit=st.integers(1, 5), amounts=st.lists(st.integers(1, 3), min_size=40, max_size=40))
    def holds(gaps: list[int], limit: int, amounts: list[int]) -> None:
        scope = f"user:{next(scopes)}"
        passed: list[tuple[int, int]] = []

        for gap, amount in zip(gaps, amounts, strict=False):
            store.ahead_ms += gap
            reply = ask(store, (scope, "tpm", limit, amount))
            in_the_last = sum(used for at, used in passed if at > reply.now_ms - 61_000)
            if reply.code == "admitted":
                passed.append((reply.now_ms, amount))
            else:
                # Nobody waits for nothing: what was used in the last 61 s leaves no room.
                assert in_the_last + amount > limit

        for at, _ in passed:
            assert sum(used for other, used in passed if at <= other < at + 60_000) <= limit

    holds()
