"""Any interleaving of what calls, the relay, the books and mishaps do to quotas, against a limiter in plain Python."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from llm_one_api.limits.charging import Booking, Charge
from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Admit, Amount, Cancel, Done, Op, Renew
from tests.harness.limiter import Limiter, amount, plus, total
from tests.harness.services import Valkey

MANY = 10**12
LEASE, STEPS = 600, (250_000, 500_000, 750_000)
"""Seconds; and ms that pass at a time: no lease ends within minutes of another moment, so a slow test is no other."""
LIMITS = {"user:a:day": Amount(100, MANY, MANY), "user:b:day": Amount(MANY, 3, MANY), "all:total": Amount(150, 8, 60)}
PLACES = {"user:a": 2, "user:b": 3}
FOREVER = 2**52

tokens = st.integers(0, 60)
nanos = st.integers(0, 30)


class Life(RuleBasedStateMachine):
    """The calls of two users, in windows of a day each and one of all time."""

    store: LimitStore
    server: Valkey

    @initialize()
    def begin(self) -> None:
        with self.server.client() as client:
            client.flushall()
        self.store.ahead_ms = 0
        self.model = Limiter(LIMITS, PLACES, LEASE * 1000)
        self.asked, self.day = 0, 1
        self.windows: set[str] = set()
        self.begun: list[Charge] = []
        """Calls under way."""
        self.ended: list[tuple[int, Charge]] = []
        """The journal's ends of calls, each with its place in it."""
        self.adopted: list[Charge] = []
        """What was made of calls whose gateway died."""
        self.ledger: dict[str, Booking] = {}
        self.unbooked: list[Booking] = []
        self.is_troubled = False
        """Whether something was lost, that only a recount finds."""
        self.recount()

    # -- the gateway --

    def ask(self, *ops: Op) -> list[str]:
        return [reply.code for reply in self.store.run(ops)]

    @rule(user=st.sampled_from("ab"), tokens=tokens, nanos=nanos, again=st.booleans(), unwhole=st.booleans())
    def admit(self, user: str, tokens: int, nanos: int, again: bool, unwhole: bool) -> None:
        windows = (f"user:{user}:day:{self.day}", "all:total:ever")
        self.asked += 1
        charge = Charge(id=f"call-{self.asked}", windows=windows, tokens=tokens, nanos=nanos)
        scopes = [f"user:{user}"]
        op = Admit(
            id=charge.id,
            tokens=tokens,
            nanos=nanos,
            allow_unwhole=unwhole,
            quotas=[(window, *self.model.limit(window), 0, 0, 0, FOREVER) for window in windows],
            concurrent=[(scope, PLACES[scope], 0) for scope in scopes],
        )
        self.windows.update(windows)

        codes = self.ask(*[op] * (1 + again))

        assert codes == [self.model.admit(charge, scopes, allow_unwhole=unwhole) for _ in codes]
        if codes[0] == "admitted":
            self.begun.append(charge)

    def some(self, data: st.DataObject) -> Charge:
        return data.draw(st.sampled_from(self.begun))

    @staticmethod
    def scopes(charge: Charge) -> list[str]:
        return [charge.windows[0].rsplit(":", 2)[0]]

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        self.say_renewed(self.some(data))

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def renew_too_late(self, data: st.DataObject) -> None:
        self.say_renewed(data.draw(st.sampled_from(self.ended))[1])

    def say_renewed(self, charge: Charge) -> None:
        op = Renew(
            id=charge.id,
            tokens=charge.tokens,
            nanos=charge.nanos,
            windows=charge.windows,
            concurrent=self.scopes(charge),
        )
        self.ask(op)
        self.model.renew(charge, self.scopes(charge))

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        charge = self.some(data)
        self.begun.remove(charge)

        self.ask(Cancel(id=charge.id, concurrent=self.scopes(charge)))

        self.model.leave(charge.id, self.scopes(charge))
        self.model.holds.pop(charge.id, None)

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), tokens=tokens, nanos=nanos)
    def end(self, data: st.DataObject, tokens: int, nanos: int) -> None:
        charge = self.some(data)
        self.begun.remove(charge)
        used = Charge(id=charge.id, windows=charge.windows, tokens=tokens, nanos=nanos)
        self.ended.append((100 * len(self.ended) + 100, used))

        self.ask(Done(id=charge.id, concurrent=self.scopes(charge)))

        self.model.leave(charge.id, self.scopes(charge))

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), tokens=tokens)
    def crash(self, data: st.DataObject, tokens: int) -> None:
        """Its gateway dies: nothing is said any more, until the relay finds it."""
        charge = self.some(data)
        self.begun.remove(charge)
        self.adopted.append(Charge(id=charge.id, windows=charge.windows, tokens=tokens, nanos=charge.nanos))

    # -- the relay --

    @rule(anew=st.booleans())
    def settle(self, anew: bool) -> None:
        """Say what has ended: all of it again, if the relay was started anew."""
        charges = self.ended if anew else [one for one in self.ended if one[0] > self.model.mark]

        epoch = self.store.settle("segment", charges)

        self.model.settle(charges)
        assert (epoch is not None) == (self.model.counted is not None)

    @rule()
    def settle_without_marks(self) -> None:
        """Say all of it again, as a relay does that learns of another epoch."""
        self.store.settle("", (), freed=["segment"])
        self.store.settle("segment", self.ended)

        self.model.mark = 0
        self.model.settle(self.ended)
        self.is_troubled = True  # what is booked is pending as well, until it is found

    @precondition(lambda self: self.adopted)
    @rule()
    def adopt(self) -> None:
        charges = [(0, charge) for charge in self.adopted]

        self.store.settle("segment", charges, adopted=True)

        self.model.settle(charges, adopted=True)

    # -- the books --

    def told(self) -> list[Charge]:
        return [*(charge for _, charge in self.ended), *self.adopted]

    @rule(count=st.integers(1, 4))
    def ingest(self, count: int) -> None:
        for charge in [charge for charge in self.told() if charge.id not in self.ledger][:count]:
            booking = Booking(charge=charge, seq=len(self.ledger) + 1, new=True)
            self.ledger[charge.id] = booking
            self.unbooked.append(booking)

    @precondition(lambda self: self.unbooked)
    @rule()
    def book(self) -> None:
        bookings, self.unbooked = self.unbooked, []

        self.store.book(bookings)

        self.model.book(bookings)

    @precondition(lambda self: self.ledger)
    @rule(data=st.data())
    def ingest_twice(self, data: st.DataObject) -> None:
        """Take a record in again that is there: its task was delivered twice, or never acknowledged."""
        first = data.draw(st.sampled_from(self.unbooked or list(self.ledger.values())))
        again = Booking(charge=first.charge, seq=first.seq, new=False)

        self.store.book([again])

        self.model.book([again])

    @precondition(lambda self: self.unbooked)
    @rule()
    def lose_a_booking(self) -> None:
        """The worker dies between its commit and the limit store."""
        self.unbooked.pop(0)
        self.is_troubled = True

    @rule()
    def recount(self) -> None:
        charges = [booking.charge for booking in self.ledger.values()]
        booked = {window: total(charges, window) for window in {w for c in charges for w in c.windows}}
        in_ledger = [call for page in self.store.pending() for call in page if call in self.ledger]

        self.store.recount(len(charges), booked, in_ledger=in_ledger)

        self.model.recount(len(charges), booked, in_ledger)
        # What is settled only now that it is counted is pending until the next one.
        self.is_troubled |= any(end > self.model.mark and c.id in self.ledger for end, c in self.ended)
        self.is_troubled |= any(c.id in self.ledger and c.id not in self.model.seen for c in self.adopted)

    # -- the world --

    @rule(ms=st.sampled_from(STEPS))
    def pass_time(self, ms: int) -> None:
        self.store.ahead_ms += ms
        self.model.pass_time(ms)

    @rule()
    def begin_a_day(self) -> None:
        self.day += 1

    @rule()
    def flush(self) -> None:
        with self.server.client() as client:
            client.flushall()
        self.model.empty()
        self.is_troubled = True

    # -- what holds --

    def look(self) -> Any:
        return self.store.windows(sorted(self.windows))

    @invariant()
    def the_store_counts_as_the_model_does(self) -> None:
        found = self.look()
        pending = {call: one for page in self.store.pending() for call, one in page.items()}

        assert found == {window: self.model.counts(window) for window in self.windows}
        assert {call: (one.windows, one.amount) for call, one in pending.items()} == {
            call: (charge.windows, amount(charge)) for call, charge in self.model.pending.items()
        }
        assert self.store.places(list(PLACES)) == [len(self.model.taken[scope]) for scope in PLACES]
        # And whatever the model says: nothing is negative, and nothing is beyond its limit by more than what calls used
        # beyond what they had reserved.
        for window, counts in found.items():
            assert min(min(kind) for kind in counts) >= 0
            used = plus(plus(counts.booked, counts.pending), counts.held)
            most = plus(self.model.limit(window), self.model.slack[window])
            assert all(a <= b for a, b in zip(used, most, strict=True)), window

    def teardown(self) -> None:
        """All ends, and is settled, taken in and booked: then the counters are those of the ledger, and no more."""
        if not hasattr(self, "ledger"):
            return
        self.adopted += self.begun
        self.settle(anew=False)
        if self.adopted:
            self.adopt()
        self.ingest(10**6)
        self.store.book(self.unbooked)
        self.store.ahead_ms += LEASE * 1000 + 1
        if self.is_troubled:
            self.recount()
        charges = [booking.charge for booking in self.ledger.values()]

        found = self.look()

        for window, counts in found.items():
            assert counts == (total(charges, window), Amount(), Amount()), window


def test_any_interleaving_keeps_the_limits_and_leaks_nothing(limit_server: Valkey) -> None:
    Life.server = limit_server
    made = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )

    with closing(LimitStore(limit_server.url, "t:", lease=LEASE, timeout=5)) as Life.store:
        run_state_machine_as_test(Life, settings=made)
