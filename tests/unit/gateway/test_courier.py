"""The way to the limit store: shared round trips, and nobody waits for a store that is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import gevent
import pytest
import redis
from gevent.event import Event

from llm_one_api.gateway import courier as courier_module
from llm_one_api.gateway.courier import Away, Courier
from llm_one_api.stores.limits.messages import Admit, Cancel, Done, Op, Renew, Reply


class Store:
    """Takes its time, as a server on the network does, and may be away."""

    def __init__(self) -> None:
        self.trips: list[list[str]] = []
        self.done: list[Done] = []
        self.looks: list[Renew] = []
        self.cancelled: list[str] = []
        self.away = False
        self.began = 0
        self.answers_nothing = False
        self.may_answer = Event()
        self.may_answer.set()

    def run(self, ops: Sequence[Op]) -> list[Reply]:
        self.began += 1
        gevent.sleep(0.002)
        self.may_answer.wait()
        if self.away:
            raise redis.TimeoutError("no answer")
        self.done += [op for op in ops if isinstance(op, Done)]
        self.cancelled += [op.id for op in ops if isinstance(op, Cancel)]
        self.looks += [op for op in ops if isinstance(op, Renew)]
        self.trips.append([op.id for op in ops if not isinstance(op, Renew)])  # type: ignore[attr-defined]
        if self.answers_nothing:
            return []
        return [Reply("admitted", int(op.id), whole=True) for op in ops if isinstance(op, Admit)]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def courier(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Courier]:
    monkeypatch.setattr(courier_module, "LOOK_EVERY", 0.02)
    it = Courier(store)
    it.start()
    yield it
    it.stop()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the first answer, however busy the machine is."""
    monkeypatch.setattr(courier_module, "AT_FIRST", 5.0)


def admit(name: str) -> Admit:
    return Admit(id=name, tokens=1, nanos=0, allow_unwhole=True)


def ask_all(courier: Courier, names: Sequence[str]) -> list[Reply | type[Away]]:
    def ask(name: str) -> Reply | type[Away]:
        try:
            return courier.ask(admit(name))
        except Away:
            return Away

    asking = [gevent.spawn(ask, name) for name in names]
    gevent.joinall(asking, timeout=5)
    return [one.value for one in asking]


def until(is_so: Callable[[], bool]) -> None:
    with gevent.Timeout(5):
        while not is_so():
            gevent.sleep(0.005)


@pytest.mark.usefixtures("patient")
def test_calls_that_ask_at_the_same_moment_share_a_round_trip(courier: Courier, store: Store) -> None:
    replies = ask_all(courier, [str(n) for n in range(32)])

    assert all(isinstance(reply, Reply) for reply in replies)
    assert len(store.trips) <= 2
    assert sorted(name for trip in store.trips for name in trip) == sorted(str(n) for n in range(32))


@pytest.mark.usefixtures("patient")
def test_no_round_trip_is_endless(courier: Courier, store: Store) -> None:
    ask_all(courier, [str(n) for n in range(200)])

    assert max(len(trip) for trip in store.trips) <= courier_module.TOGETHER


@pytest.mark.usefixtures("patient")
def test_each_call_gets_its_own_reply(courier: Courier, store: Store) -> None:
    store.may_answer.clear()
    under_way = gevent.spawn(courier.ask, admit("1"))
    until(lambda: store.began == 1)
    courier.tell(Done(id="before", concurrent=["all"]))
    gevent.spawn_later(0.02, store.may_answer.set)

    replies = ask_all(courier, ["7", "8", "9"])

    under_way.get(timeout=5)
    assert store.trips == [["1"], ["before", "7", "8", "9"]]
    assert [reply.now_ms for reply in replies if isinstance(reply, Reply)] == [7, 8, 9]


@pytest.mark.usefixtures("patient")
def test_what_was_given_back_is_said_before_the_next_calls_ask(courier: Courier, store: Store) -> None:
    courier.tell(Cancel(id="left", concurrent=["user:alice"]))

    ask_all(courier, ["1"])

    assert [name for trip in store.trips for name in trip] == ["left", "1"]


def test_while_the_store_is_away_everybody_is_told_at_once(courier: Courier, store: Store) -> None:
    store.away = True

    noticed = ask_all(courier, ["a", "b"])
    told = ask_all(courier, ["c"])

    assert noticed == [Away, Away]
    assert told == [Away]
    assert courier.away_since is not None


def test_it_comes_back_by_itself_and_what_was_to_be_said_is_said_then(courier: Courier, store: Store) -> None:
    store.away = True
    ask_all(courier, ["a"])
    until(lambda: courier.away_since is not None)  # on a busy machine who asks gives up before
    courier.tell(Done(id="ended", concurrent=["all"]))

    store.away = False
    until(lambda: courier.away_since is None)

    assert [list(look.concurrent) for look in store.looks] == [["look"]]  # a store that cannot write is away
    assert isinstance(ask_all(courier, ["2"])[0], Reply)
    assert [name for trip in store.trips for name in trip] == ["a", "ended", "2"]
    assert store.cancelled == ["a"]  # it may have been admitted


def test_what_failed_on_its_way_is_said_again(courier: Courier, store: Store) -> None:
    store.away = True
    courier.tell(Done(id="ended", concurrent=["all"]))
    until(lambda: courier.away_since is not None)

    store.away = False

    until(lambda: ["ended"] in store.trips)


def test_what_may_have_been_done_gives_back_no_minute_twice(courier: Courier, store: Store) -> None:
    store.away = True
    courier.tell(Done(id="less", concurrent=["all"], corrections=[("all", 7, -900), ("user:alice", 7, 20)]))
    until(lambda: courier.away_since is not None)
    courier.tell(Done(id="since", concurrent=[], corrections=[("all", 7, -5)]))

    store.away = False
    until(lambda: len(store.done) == 2)

    assert [(done.id, list(done.concurrent), list(done.corrections)) for done in store.done] == [
        ("less", ["all"], [("user:alice", 7, 20)]),
        ("since", [], [("all", 7, -5)]),
    ]


def test_who_asks_first_waits_for_no_connection_that_takes_long(
    courier: Courier, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "AT_FIRST", 0.02)
    store.may_answer.clear()  # a name that is not found, say, which no connection's timeout ends
    asking = gevent.spawn(ask_all, courier, ["1"])
    until(lambda: store.began == 1)

    assert ask_all(courier, ["2", "3"]) == [Away, Away]
    assert asking.get(timeout=5) == [Away]
    monkeypatch.setattr(courier_module, "AT_FIRST", 5)
    assert ask_all(courier, ["told at once"]) == [Away]
    store.may_answer.set()
    until(lambda: bool(store.trips))

    assert [type(reply) for reply in ask_all(courier, ["4"])] == [Reply]
    assert store.trips[0] == ["1"]
    until(lambda: sorted(store.cancelled) == ["1", "2", "3"])  # nothing stays reserved for who has gone on


def test_a_call_that_is_killed_while_it_asks_holds_nothing(courier: Courier, store: Store) -> None:
    store.may_answer.clear()
    asking = gevent.spawn(courier.ask, Admit(id="1", tokens=1, nanos=0, allow_unwhole=True, concurrent=[("all", 1, 0)]))
    until(lambda: store.began == 1)

    asking.kill()
    store.may_answer.set()

    until(lambda: store.trips == [["1"], ["1"]])
    assert store.cancelled == ["1"]


def test_a_store_that_answers_nonsense_is_as_one_that_is_away(courier: Courier, store: Store) -> None:
    store.answers_nothing = True

    assert ask_all(courier, ["1", "2"]) == [Away, Away]


def test_the_end_waits_for_what_is_to_be_said(store: Store) -> None:
    courier = Courier(store)
    courier.start()
    courier.tell(Done(id="ended", concurrent=["all"]))

    courier.stop()

    assert store.trips == [["ended"]]
