"""What an admission is answered, on each server: all limits are checked and reserved together, or none is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Admit, Amount, Boost, Cancel, Counts, Done, Op, Renew, Reply
from tests.harness.services import Valkey

REJECT, THROTTLE, SHADOW = 0, 1, 2
NONE = -1
FOREVER = 2**52
DAY = "user:alice:day:2026-11-24"
MONTH = "group:lab:month:2026-11"


def quota(window: str = DAY, *, tokens: int = NONE, requests: int = NONE, nanos: int = NONE, **more: Any) -> Any:
    """One quota, as the gateway asks for it."""
    said = {"action": REJECT, "throttled_to": 1, "start": 0, "end": FOREVER, **more}
    return (window, tokens, requests, nanos, *said.values())


def admit(call: str, *quotas: Any, tokens: int = 10, nanos: int = 0, **more: Any) -> Admit:
    return Admit(id=call, tokens=tokens, nanos=nanos, quotas=quotas, **{"allow_unwhole": False, **more})


def ask(store: LimitStore, *ops: Op) -> Reply:
    """Give the last reply."""
    return store.run(ops)[-1]


def held(store: LimitStore, window: str = DAY) -> Amount:
    return store.windows([window])[window].held


def empty(server: Valkey) -> None:
    with server.client() as client:
        client.flushall()


def test_what_a_call_may_use_is_held_in_all_its_windows(store: LimitStore) -> None:
    reply = ask(store, admit("1", quota(), quota(MONTH), tokens=70, nanos=900))

    assert (reply.code, reply.whole) == ("admitted", True)
    assert store.windows([DAY, MONTH]) == {w: Counts(held=Amount(70, 1, 900)) for w in (DAY, MONTH)}


@pytest.mark.parametrize(
    ("limits", "kind", "limit", "used", "asked"),
    [
        ({"tokens": 100}, "tokens", 100, 60, {"tokens": 41}),
        ({"requests": 1}, "requests", 1, 1, {}),
        ({"nanos": 1000}, "cost", 1000, 600, {"nanos": 401}),
    ],
)
def test_each_unit_is_limited_by_itself_and_told(
    store: LimitStore, limits: Any, kind: str, limit: int, used: int, asked: Any
) -> None:
    ask(store, admit("1", quota(MONTH), quota(**limits), tokens=60, nanos=600))

    reply = ask(store, admit("2", quota(MONTH), quota(**limits), **asked))

    assert (reply.code, reply.kind, reply.index) == ("refused", kind, 1)
    assert (reply.limit, reply.used, reply.held) == (limit, 0, used)


def test_a_limit_may_be_used_to_the_last(store: LimitStore) -> None:
    quotas = (quota(tokens=100, requests=2, nanos=50),)

    replies = store.run([admit("1", *quotas, tokens=60, nanos=50), admit("2", *quotas, tokens=40, nanos=0)])

    assert [reply.code for reply in replies] == ["admitted", "admitted"]
    assert held(store) == (100, 2, 50)


def test_a_refused_call_reserves_nothing_of_what_would_have_been_granted(store: LimitStore) -> None:
    spent = quota(MONTH, tokens=5)
    rates = [("user:alice", "rpm", 5, 1, REJECT), ("user:alice", "tpm", 500, 10, REJECT)]

    reply = ask(store, admit("1", quota(), spent, rates=rates, concurrent=[("user:alice", 5, REJECT)]))

    assert reply.code == "refused"
    assert [held(store, window) for window in (DAY, MONTH)] == [Amount(), Amount()]
    assert [one.used for one in store.minutes([("user:alice", "rpm"), ("user:alice", "tpm")])] == [0, 0]
    assert store.places(["user:alice"]) == [0]


def test_a_call_that_is_asked_for_twice_is_held_once(store: LimitStore) -> None:
    replies = store.run([admit("1", quota(requests=1))] * 2)

    assert [reply.code for reply in replies] == ["admitted", "admitted"]
    assert held(store) == (10, 1, 0)


def test_amounts_stay_exact_however_large(store: LimitStore) -> None:
    large = 10**15 - 7

    ask(store, admit("1", quota(), nanos=2), *[admit(str(n), quota(), nanos=large, tokens=1) for n in range(2, 10)])

    assert held(store) == (18, 9, 8 * large + 2)


def test_no_figure_whatever_breaks_a_counter(store: LimitStore) -> None:
    replies = store.run([admit(str(n), quota(), tokens=2**62, nanos=2**62) for n in range(20)])
    ask(store, *[Cancel(id=str(n), concurrent=[]) for n in range(20)], admit("last"))

    assert {reply.code for reply in replies} == {"admitted"}
    assert held(store) == (0, 0, 0)


class TestWindows:
    def test_one_that_is_not_open_by_the_servers_clock_is_said_and_nothing_is_reserved(self, store: LimitStore) -> None:
        now = ask(store, admit("0")).now_ms
        past, coming = quota(end=now), quota(start=now + 60_000)

        replies = store.run([admit("1", quota(MONTH), past), admit("2", quota(MONTH), coming)])

        assert [reply.code for reply in replies] == ["stale", "stale"]
        assert held(store, MONTH) == Amount()

    def test_a_window_of_a_day_is_forgotten_some_day_and_one_of_all_time_never(
        self, store: LimitStore, limit_server: Valkey
    ) -> None:
        ever = ["all:total:ever", "user:bob:total:ever"]
        ends = [DAY, MONTH, "user:odd:total:name:day:2026-11-24"]

        ask(store, admit("1", *[quota(window) for window in ever + ends]))

        with limit_server.client() as client:
            assert [client.ttl(f"t:limits:w:{window}") for window in ever] == [-1, -1]
            assert all(client.ttl(f"t:limits:w:{window}") > 70 * 24 * 3600 for window in ends)


class TestCountersThatAreNotWhole:
    def test_refuse_and_reserve_nothing(self, store: LimitStore, limit_server: Valkey) -> None:
        empty(limit_server)

        reply = ask(store, admit("1", quota(), concurrent=[("user:alice", 1, REJECT)]))

        assert (reply.code, reply.whole, held(store)) == ("unwhole", False, Amount())
        assert store.places(["user:alice"]) == [0]

    def test_are_not_looked_at_where_that_is_allowed_but_the_call_is_held(
        self, store: LimitStore, limit_server: Valkey
    ) -> None:
        empty(limit_server)

        reply = ask(store, admit("1", quota(tokens=5), tokens=10, allow_unwhole=True))

        assert (reply.code, reply.whole, held(store)) == ("admitted", False, (10, 1, 0))

    def test_do_not_matter_to_a_call_without_quotas(self, store: LimitStore, limit_server: Valkey) -> None:
        empty(limit_server)

        assert ask(store, admit("1", rates=[("all", "rpm", 1, 1, REJECT)])).code == "admitted"


class TestShadows:
    def test_are_said_and_reserved_all_the_same(self, store: LimitStore) -> None:
        asked = admit(
            "1",
            quota(MONTH),
            quota(tokens=5, requests=0, action=SHADOW),
            rates=[("all", "rpm", 0, 1, SHADOW), ("all", "tpm", 5, 10, SHADOW)],
            concurrent=[("all", 0, SHADOW)],
        )

        reply = ask(store, asked)

        assert reply.code == "admitted"
        assert sorted(map(tuple, reply.shadows)) == [
            ("concurrent", 0),
            ("requests", 1),
            ("rpm", 0),
            ("tokens", 1),
            ("tpm", 0),
        ]
        assert held(store) == (10, 1, 0)
        assert store.minutes([("all", "rpm"), ("all", "tpm")])[1].used == 10
        assert (list(reply.requests), list(reply.tokens)) == ([], [])

    def test_hide_no_real_rate(self, store: LimitStore) -> None:
        rates = [("all", "rpm", 1, 1, SHADOW), ("user:alice", "rpm", 9, 1, REJECT), ("all", "tpm", 9, 1, SHADOW)]

        reply = ask(store, admit("1", rates=rates))

        assert list(reply.requests)[:2] == [9, 8]
        assert list(reply.tokens) == []


class TestThrottle:
    def test_leaves_a_few_calls_a_minute_to_who_is_over_a_quota(self, store: LimitStore) -> None:
        over = quota(tokens=0, action=THROTTLE, throttled_to=2)

        replies = store.run([admit(str(n), over) for n in range(3)])

        assert [reply.code for reply in replies] == ["admitted", "admitted", "refused"]
        assert (replies[2].kind, replies[2].index, replies[2].limit, replies[2].used) == ("throttle", 0, 2, 2)
        assert 50_000 <= replies[2].retry_ms <= 61_000
        assert held(store) == (20, 2, 0)

    def test_is_not_counted_for_who_is_under_it(self, store: LimitStore) -> None:
        ask(store, admit("1", quota(tokens=100, action=THROTTLE)))

        assert store.minutes([("user:alice", "throttle")])[0].used == 0

    def test_a_call_over_two_quotas_of_a_scope_counts_once(self, store: LimitStore) -> None:
        windows = [quota(w, tokens=0, action=THROTTLE, throttled_to=5) for w in (DAY, "user:alice:month:2026-11")]

        ask(store, admit("1", *windows))

        assert store.minutes([("user:alice", "throttle")])[0].used == 1

    def test_a_call_that_another_limit_refuses_uses_none_of_it(self, store: LimitStore) -> None:
        ask(store, admit("1", quota(tokens=0, action=THROTTLE), quota(MONTH, tokens=0)))

        assert store.minutes([("user:alice", "throttle")])[0].used == 0


class TestBoosts:
    def test_add_to_one_limit_of_a_scope_until_they_end(self, store: LimitStore) -> None:
        now = ask(store, admit("0")).now_ms
        store.set_boost("user:alice:day:tokens", Boost(50, now + 30_000))
        over = (quota(tokens=100), quota(MONTH, tokens=1000))

        first = ask(store, admit("1", *over, tokens=150))
        more = ask(store, admit("2", *over, tokens=1))
        store.ahead_ms = 30_000
        ended = ask(store, admit("3", *over, tokens=1))

        assert [first.code, more.code, more.limit, ended.code, ended.limit] == [
            "admitted",
            "refused",
            150,
            "refused",
            100,
        ]

    def test_do_not_make_a_limit_where_there_is_none(self, store: LimitStore) -> None:
        store.set_boost("user:alice:day:requests", Boost(0, FOREVER))

        assert ask(store, admit("1", quota(tokens=10))).code == "admitted"


class TestPlaces:
    SLOTS: Sequence[Any] = [("user:alice", 2, REJECT)]

    def test_so_many_calls_are_under_way_and_no_more(self, store: LimitStore) -> None:
        replies = store.run([admit(str(n), concurrent=self.SLOTS) for n in range(3)])

        assert [reply.code for reply in replies] == ["admitted", "admitted", "refused"]
        assert (replies[2].kind, replies[2].limit, replies[2].used) == ("concurrent", 2, 2)

    @pytest.mark.parametrize("kind", [Done, Cancel])
    def test_the_end_of_a_call_frees_its_place(self, store: LimitStore, kind: type[Done | Cancel]) -> None:
        store.run([admit(str(n), concurrent=self.SLOTS) for n in range(2)])

        reply = ask(store, kind(id="0", concurrent=["user:alice"]), admit("2", concurrent=self.SLOTS))

        assert reply.code == "admitted"

    def test_a_call_that_died_frees_it_when_its_lease_ends_and_a_renewed_one_keeps_it(self, store: LimitStore) -> None:
        store.run([admit(str(n), concurrent=self.SLOTS) for n in range(2)])
        store.ahead_ms = 40_000
        store.run([Renew(id="0", tokens=0, nanos=0, windows=[], concurrent=["user:alice"])])
        store.ahead_ms = 70_000

        replies = store.run([admit(str(n), concurrent=self.SLOTS) for n in (2, 3)])

        assert [reply.code for reply in replies] == ["admitted", "refused"]


class TestLeases:
    def test_give_back_what_was_held_when_they_end(self, store: LimitStore) -> None:
        ask(store, admit("1", quota(tokens=10)))
        store.ahead_ms = 40_000
        before = ask(store, admit("2", quota(tokens=10))).code
        store.ahead_ms = 61_000

        assert (before, ask(store, admit("3", quota(tokens=10))).code) == ("refused", "admitted")
        assert held(store) == (10, 1, 0)

    def test_begin_again_when_they_are_renewed(self, store: LimitStore) -> None:
        ask(store, admit("1", quota()))
        again = Renew(id="1", tokens=10, nanos=0, windows=[DAY], concurrent=[])
        store.ahead_ms = 40_000
        store.run([again])
        store.ahead_ms = 80_000

        assert held(store) == (10, 1, 0)

    def test_renewing_brings_back_what_the_server_lost(self, store: LimitStore, limit_server: Valkey) -> None:
        ask(store, admit("1", quota()))
        empty(limit_server)

        store.run([Renew(id="1", tokens=10, nanos=4, windows=[DAY], concurrent=[])])

        assert held(store) == (10, 1, 4)

    def test_any_number_of_them_ends_in_the_end(self, store: LimitStore) -> None:
        store.run([admit(str(n), quota()) for n in range(250)])
        store.ahead_ms = 61_000

        assert held(store) == Amount()


def test_a_cancelled_call_holds_nothing_and_an_ended_one_holds_until_it_is_settled(store: LimitStore) -> None:
    store.run([admit("1", quota()), admit("2", quota())])

    store.run([Cancel(id="1", concurrent=[]), Done(id="2", concurrent=[])])

    assert held(store) == (10, 1, 0)


def test_nothing_asked_is_nothing_answered(store: LimitStore) -> None:
    assert store.run([]) == []
