"""What calls are charged, on each server: held, then pending, then booked; each once, however often it is said."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
import redis

from llm_one_api.limits.charging import Booking, Charge
from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Admit, Amount, Boost, Counts, Renew
from llm_one_api.stores.scripting import Script
from tests.harness.services import Valkey

DAY, EVER = "user:alice:day:2026-11-24", "all:total:ever"
WINDOWS = (DAY, EVER)
FOREVER = 2**52


def charge(call: str, tokens: int = 7, nanos: int = 0) -> Charge:
    return Charge(id=call, windows=WINDOWS, tokens=tokens, nanos=nanos)


def admit(store: LimitStore, *calls: str) -> None:
    quotas = [(window, -1, -1, -1, 0, 1, 0, FOREVER) for window in WINDOWS]
    store.run([Admit(id=call, tokens=10, nanos=0, allow_unwhole=True, quotas=quotas) for call in calls])


def renew(store: LimitStore, call: str) -> None:
    store.run([Renew(id=call, tokens=10, nanos=0, windows=WINDOWS, concurrent=[])])


def booking(call: str, seq: int, *, new: bool = True, tokens: int = 7) -> Booking:
    return Booking(charge=charge(call, tokens), seq=seq, new=new)


def counts(store: LimitStore) -> Counts:
    """Give what both windows hold, which is the same."""
    found = store.windows(WINDOWS)
    assert found[DAY] == found[EVER]
    return found[DAY]


def is_charged(store: LimitStore, *, booked: int = 0, pending: int = 0, held: int = 0) -> bool:
    """Tell whether so many calls of 7 tokens each are charged, and so many of 10 held."""
    return counts(store) == Counts(Amount(7 * booked, booked), Amount(7 * pending, pending), Amount(10 * held, held))


def empty(server: Valkey) -> None:
    with server.client() as client:
        client.flushall()


class TestSettling:
    def test_what_was_held_becomes_pending(self, store: LimitStore) -> None:
        admit(store, "1", "2")

        epoch = store.settle("a", [(50, charge("1", tokens=7, nanos=300))])

        state = store.state()
        assert state is not None
        assert epoch == state.epoch
        assert counts(store) == Counts(Amount(), Amount(7, 1, 300), Amount(10, 1, 0))
        assert {call: one.amount for page in store.pending() for call, one in page.items()} == {"1": (7, 1, 300)}

    def test_what_was_said_before_is_passed_over_also_after_it_was_booked(self, store: LimitStore) -> None:
        said = [(50, charge("1")), (90, charge("2"))]
        store.settle("a", said)
        store.book([booking("1", 1), booking("2", 2)])

        store.settle("a", [*said, (120, charge("3"))])

        assert is_charged(store, booked=2, pending=1)

    def test_places_in_one_segment_are_none_in_another(self, store: LimitStore) -> None:
        store.settle("a", [(500, charge("1"))])

        store.settle("b", [(50, charge("2"))])

        assert is_charged(store, pending=2)

    def test_a_freed_segment_is_taken_again_but_for_what_is_pending(self, store: LimitStore) -> None:
        store.settle("a", [(50, charge("1")), (90, charge("2"))])
        store.book([booking("1", 1)])

        store.settle("", (), freed=["a", "never-seen"])
        store.settle("a", [(50, charge("1")), (90, charge("2"))])

        assert is_charged(store, booked=1, pending=2)

    def test_an_adopted_call_is_charged_once_though_it_has_no_place(self, store: LimitStore) -> None:
        admit(store, "1")
        for _ in range(2):
            store.settle("a", [(0, charge("1"))], adopted=True)
        store.book([booking("1", 1)])

        store.settle("a", [(0, charge("1"))], adopted=True)

        assert is_charged(store, booked=1)

    def test_adopted_calls_do_not_move_the_mark(self, store: LimitStore) -> None:
        store.settle("a", [(900, charge("1"))], adopted=True)

        store.settle("a", [(50, charge("2"))])

        assert is_charged(store, pending=2)

    def test_a_renewal_that_comes_late_holds_nothing(self, store: LimitStore) -> None:
        admit(store, "1", "2")
        store.settle("a", [(50, charge("1"))])
        store.settle("a", [(0, charge("2"))], adopted=True)
        store.book([booking("2", 1)])

        renew(store, "1")
        renew(store, "2")

        assert is_charged(store, booked=1, pending=1)

    def test_a_call_whose_lease_has_ended_is_charged_all_the_same(self, store: LimitStore) -> None:
        admit(store, "1")
        store.ahead_ms = 61_000

        store.settle("a", [(50, charge("1"))])

        assert is_charged(store, pending=1)

    def test_without_whole_counters_it_counts_and_says_so(self, store: LimitStore, limit_server: Valkey) -> None:
        empty(limit_server)

        assert store.settle("a", [(50, charge("1"))]) is None
        assert store.settle("a", []) is None
        assert is_charged(store, pending=1)

    def test_any_number_is_settled_and_booked_in_one_go(self, store: LimitStore) -> None:
        store.settle("a", [(n, charge(str(n))) for n in range(1, 251)])
        before = is_charged(store, pending=250)
        store.book([booking(str(n), n) for n in range(1, 251)])

        assert before
        assert is_charged(store, booked=250)
        assert sum(len(page) for page in store.pending()) == 0


class TestBooking:
    def test_what_was_pending_becomes_booked_and_once(self, store: LimitStore) -> None:
        store.settle("a", [(50, charge("1"))])

        for new in (True, False, False):
            store.book([booking("1", 1, new=new)])

        assert is_charged(store, booked=1)

    def test_the_first_copy_is_booked_once_also_where_the_second_was_before_it(self, store: LimitStore) -> None:
        store.settle("a", [(50, charge("1"))])

        for new in (False, True, False):
            store.book([booking("1", 1, new=new)])

        assert is_charged(store, booked=1)

    def test_a_record_that_was_there_already_is_booked_if_it_is_still_pending(self, store: LimitStore) -> None:
        store.settle("a", [(50, charge("1"))])

        store.book([booking("1", 1, new=False), booking("2", 2, new=False)])

        assert is_charged(store, booked=1)

    def test_one_that_was_never_settled_is_booked_and_holds_nothing(self, store: LimitStore) -> None:
        admit(store, "1")

        store.book([booking("1", 1)])

        assert is_charged(store, booked=1)

    def test_what_was_booked_before_it_was_settled_is_not_settled_any_more(self, store: LimitStore) -> None:
        store.book([booking("1", 1)])

        store.settle("a", [(50, charge("1"))])
        renew(store, "1")

        assert is_charged(store, booked=1)

    def test_what_the_recount_has_counted_is_pending_no_more_and_not_added(self, store: LimitStore) -> None:
        store.settle("a", [(50, charge("1")), (90, charge("2"))])
        store.recount(1, {window: Amount(7, 1, 0) for window in WINDOWS})

        store.book([booking("1", 1), booking("2", 2)])

        assert is_charged(store, booked=2)

    def test_before_there_are_whole_counters_the_recount_that_comes_is_left_to_count(
        self, store: LimitStore, limit_server: Valkey
    ) -> None:
        empty(limit_server)
        store.settle("a", [(50, charge("1"))])
        store.book([booking("1", 1), booking("2", 2)])
        store.settle("a", [(90, charge("2"))])
        before = is_charged(store)

        store.recount(2, {window: Amount(14, 2, 0) for window in WINDOWS})

        assert before
        assert is_charged(store, booked=2)


class TestRecounting:
    def test_sets_what_is_booked_in_all_windows_also_in_those_that_are_not_named(self, store: LimitStore) -> None:
        store.book([booking("1", 1)])

        store.recount(5, {DAY: Amount(70, 10, 3)})

        found = store.windows([DAY, EVER, "user:bob:day:2026-11-24"])
        assert [counts.booked for counts in found.values()] == [(70, 10, 3), (0, 0, 0), (0, 0, 0)]
        assert sorted(store.all_windows()) == sorted(WINDOWS)

    def test_of_some_windows_leaves_the_others_as_they_are(self, store: LimitStore) -> None:
        store.book([booking("1", 1)])

        store.recount(5, {}, among=[DAY])

        assert [counts.booked for counts in store.windows(WINDOWS).values()] == [(0, 0, 0), (7, 1, 0)]

    def test_leaves_what_is_held_and_pending_but_for_what_is_in_the_ledger(self, store: LimitStore) -> None:
        admit(store, "1")
        store.settle("a", [(50, charge("2")), (90, charge("3"))])

        store.recount(1, {window: Amount(7, 1, 0) for window in WINDOWS}, in_ledger=["2", "unknown"])

        assert is_charged(store, booked=1, pending=1, held=1)

    def test_any_number_of_windows_and_calls(self, store: LimitStore) -> None:
        names = [f"key:{n}:day:2026-11-24" for n in range(250)]
        store.settle("a", [(n, charge(str(n))) for n in range(1, 321)])

        store.recount(320, {name: Amount(1, 2, 3) for name in names}, in_ledger=[str(n) for n in range(1, 321)])

        assert {counts.booked for counts in store.windows(names).values()} == {Amount(1, 2, 3)}
        assert is_charged(store)

    def test_keeps_the_epoch_while_nothing_was_lost(self, store: LimitStore) -> None:
        before = store.state()

        epoch = store.recount(4, {})

        assert before is not None
        assert store.state() == before._replace(seq=4)
        assert epoch == before.epoch

    def test_begins_another_one_after_a_loss(self, store: LimitStore, limit_server: Valkey) -> None:
        before = store.state()
        empty(limit_server)
        lost = store.state()

        store.recount(4, {})

        assert lost is None
        assert before is not None
        assert store.state() not in {None, before._replace(seq=4)}

    def test_begins_another_one_where_the_server_began_anew_with_what_it_had(
        self, store: LimitStore, limit_server: Valkey
    ) -> None:
        first = store.recount(4, {})
        with limit_server.client() as client:
            client.hset("t:limits:state", "run_id", "another")

        assert store.recount(4, {}) != first
        assert store.state() == (store.recount(4, {}), 4, store.run_id())

    def test_does_not_take_counters_for_whole_that_were_lost_meanwhile(
        self, store: LimitStore, limit_server: Valkey
    ) -> None:
        class Emptied(LimitStore):
            """Whose server loses its data before the last piece of a recount."""

            def _call(self, script: Script, **message: Any) -> bytes:
                if message.get("last"):
                    empty(limit_server)
                return super()._call(script, **message)

        with closing(Emptied(limit_server.url, "t:", timeout=5)) as unlucky, pytest.raises(redis.DataError):
            unlucky.recount(1, {f"key:{n}:day:2026-11-24": Amount(1, 1, 1) for n in range(150)})

        assert store.state() is None

    def test_replaces_the_boosts(self, store: LimitStore) -> None:
        store.set_boost("user:alice:day:tokens", Boost(5, 99))
        told = {"group:a lab:month:cost": Boost(-7, 123), "all:total:requests": Boost(10**14, FOREVER)}

        store.recount(0, {}, boosts=told)

        assert store.boosts() == told


def test_windows_of_users_with_odd_names_are_told_apart(store: LimitStore) -> None:
    odd = ["user:a:b:day:2026-11-24", "user:a*[?]\\:day:2026-11-24", "user:喵:total:ever"]
    one = Charge(id="1", windows=tuple(odd), tokens=1)

    store.settle("a", [(1, one)])

    assert sorted(store.all_windows()) == sorted(odd)
    assert {counts.pending for counts in store.windows(odd).values()} == {Amount(1, 1, 0)}


def test_two_installations_on_one_server_know_nothing_of_each_other(store: LimitStore, limit_server: Valkey) -> None:
    with closing(LimitStore(limit_server.url, "tt:", timeout=5)) as other:
        other.settle("a", [(1, charge("1"))])

        assert store.all_windows() == []
        assert [other.state(), list(store.pending())] == [None, [{}]]
