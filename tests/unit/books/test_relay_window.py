from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from llm_one_api.books.relay.window import Window
from tests.harness.calls import Clock


@dataclass
class Batch:
    id: str
    loaded: int = 0
    released: int = 0
    count: int = 1
    oldest: float = 0.0
    error: OSError | None = None

    def lines(self) -> list[str]:
        if self.error:
            raise self.error
        self.loaded += 1
        return [self.id]

    def release(self) -> None:
        self.released += 1


@dataclass
class Broker:
    sent: list[tuple[str, float]] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    away: bool = False
    acks_away: bool = False
    deceives: bool = False
    counts: bool = True
    left_there: int = 0
    working: bool = True
    asked: int = 0

    def publish(self, batch_id: str, lines: list[str], expires: float) -> None:
        assert lines == [batch_id]
        if not self.away or self.deceives:
            self.sent.append((batch_id, expires))
        if self.away:
            raise ConnectionError

    def take_acks(self) -> list[str]:
        if self.acks_away:
            raise TimeoutError
        acks, self.acks = self.acks, []
        return acks

    def count_waiting(self) -> int:
        self.asked += 1
        if self.away and not self.counts:
            raise ConnectionError
        return 0 if self.working else self.left_there + len(self.sent)

    @property
    def ids(self) -> list[str]:
        return [batch_id for batch_id, _ in self.sent]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def window(broker: Broker, clock: Clock) -> Window:
    return Window(
        broker.publish,
        broker.take_acks,
        count_waiting=broker.count_waiting,
        limit=3,
        resend_min=5,
        resend_max=300,
        clock=clock,
    )


def plan(window: Window, count: int) -> list[Batch]:
    batches = [Batch(str(number)) for number in range(count)]
    for batch in batches:
        window.plan(batch)
    return batches


def test_while_the_window_is_full_nothing_new_is_sent(window: Window, broker: Broker, clock: Clock) -> None:
    batches = plan(window, 10)

    for _ in range(2000):
        window.turn()
        clock.now += 1

    assert set(broker.ids) == {"0", "1", "2"}
    assert window.unacked == 3
    assert not window.has_room()
    assert [batch.loaded for batch in batches[3:]] == [0] * 7


@pytest.mark.parametrize("batches", [1, 2, 10])
def test_while_no_worker_works_the_queue_holds_no_more_than_a_window(
    window: Window, broker: Broker, clock: Clock, batches: int
) -> None:
    broker.working = False
    plan(window, batches)

    for _ in range(3600):
        window.turn()
        clock.now += 1

    assert len(broker.sent) == 3


def test_a_queue_that_a_killed_relay_filled_gets_nothing_more_until_a_worker_takes_from_it(
    window: Window, broker: Broker, clock: Clock
) -> None:
    broker.left_there, broker.working = 3, False
    plan(window, 2)
    for _ in range(3600):
        window.turn()
        clock.now += 1
    before = list(broker.ids)

    broker.left_there = 2
    clock.now += 1
    window.turn()

    assert before == []
    assert broker.ids == ["0"]


def test_a_full_queue_is_not_asked_at_each_turn(window: Window, broker: Broker, clock: Clock) -> None:
    broker.left_there, broker.working = 3, False
    plan(window, 1)

    for _ in range(1000):  # ten seconds
        window.turn()
        clock.now += 0.01

    assert 10 < broker.asked < 100


def test_an_ack_makes_room_and_lets_go_of_the_batch_once(window: Window, broker: Broker) -> None:
    batches = plan(window, 5)
    window.turn()

    broker.acks = ["1", "1", "unheard-of"]
    window.turn()
    broker.acks = ["1"]
    window.turn()

    assert broker.ids == ["0", "1", "2", "3"]
    assert [batch.released for batch in batches] == [0, 1, 0, 0, 0]


def test_it_is_sent_again_less_and_less_often_and_each_copy_expires_when_the_next_one_is_due(
    window: Window, broker: Broker, clock: Clock
) -> None:
    plan(window, 1)
    start, times = clock.now, []

    while clock.now < start + 2000:
        before = len(broker.sent)
        window.turn()
        times += [clock.now - start] * (len(broker.sent) - before)
        clock.now += 1

    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300]
    assert [expires for _, expires in broker.sent] == [*waits, 300]


def test_a_lost_ack_costs_only_another_copy(window: Window, broker: Broker, clock: Clock) -> None:
    (batch,) = plan(window, 1)
    window.turn()

    clock.now += 5
    window.turn()
    broker.acks = ["0"]
    window.turn()

    assert broker.ids == ["0", "0"]
    assert (batch.released, window.is_empty) == (1, True)


@pytest.mark.parametrize("counts", [False, True], ids=["it is gone", "its memory is full"])
def test_a_broker_that_is_away_is_asked_less_and_less_often_and_loses_nothing(
    window: Window, broker: Broker, clock: Clock, counts: bool
) -> None:
    broker.away, broker.counts = True, counts
    plan(window, 10)

    for _ in range(6000):  # a minute
        window.turn()
        clock.now += 0.01
    asked = broker.asked
    broker.away = False
    clock.now += 5
    while not window.is_empty:
        window.turn()
        broker.acks = broker.ids

    assert asked < 25
    assert broker.ids == [str(number) for number in range(10)]


def test_a_publish_that_failed_may_have_arrived_and_its_ack_counts(window: Window, broker: Broker) -> None:
    broker.away = broker.deceives = True
    (batch,) = plan(window, 1)
    window.turn()

    broker.acks = ["0"]
    window.turn()

    assert (batch.released, window.is_empty) == (1, True)


def test_when_the_broker_is_back_nobody_waits_for_the_long_interval(
    window: Window, broker: Broker, clock: Clock
) -> None:
    plan(window, 1)
    for _ in range(1000):
        window.turn()
        clock.now += 1
    broker.acks_away = True
    window.turn()
    clock.now += 6
    broker.acks_away = False
    window.turn()
    before = len(broker.sent)

    clock.now += 5
    window.turn()

    assert len(broker.sent) == before + 1


def test_the_first_ack_after_a_long_silence_has_the_others_sent_again_soon(
    window: Window, broker: Broker, clock: Clock
) -> None:
    plan(window, 3)
    for _ in range(1000):
        window.turn()
        clock.now += 1
    broker.acks = ["1"]
    window.turn()
    before = len(broker.sent)

    clock.now += 5
    window.turn()

    assert sorted(broker.ids[before:]) == ["0", "2"]


def test_a_batch_that_cannot_be_read_now_is_tried_again_later(window: Window, broker: Broker, clock: Clock) -> None:
    broken, fine = plan(window, 2)
    broken.error = OSError(5, "Input/output error")
    window.turn()
    broken.error = None

    clock.now += 5
    window.turn()

    assert sorted(broker.ids) == ["0", "1", "1"]
    assert fine.released == 0


def test_a_batch_whose_segment_was_removed_holds_up_nobody(window: Window, broker: Broker) -> None:
    gone, _ = plan(window, 2)
    gone.error = FileNotFoundError()

    window.turn()

    assert broker.ids == ["1"]
    assert window.unacked == 1
