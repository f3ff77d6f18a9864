"""What is kept of a call until it is known that it has to be counted, and what happens where nothing can count it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import gevent
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from llm_one_api.gateway.estimate import KEPT, KEPT_TEXT, Counted, Estimator
from llm_one_api.tokens import client

BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hello"}]}'
UNKNOWN = Counted()


others: set[psutil.Process] = set()
"""The children that were there before the test, of fixtures that serve the whole session."""


@pytest.fixture(autouse=True)
def _look_who_is_there() -> None:
    others.clear()
    others.update(psutil.Process().children())


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child not in others]


def soon(check: Callable[[], object]) -> None:
    """Let the greenlets run until *check* holds."""
    with gevent.Timeout(20):
        while not check():
            gevent.sleep(0.005)


@pytest.fixture
def estimator() -> Iterator[Estimator]:
    """One whose process does not exist, so whatever it starts fails."""
    estimator = Estimator(command=["/nonexistent/python"], patience=10)
    yield estimator
    estimator.stop()


def test_a_call_that_is_not_counted_starts_nothing(estimator: Estimator) -> None:
    with capture_logs() as logs:
        counting = estimator.begin("gpt-4o", "chat", BODY)
        counting.hear("Hello " * 100)
        counting.drop()
        gevent.sleep(0)

    assert estimator._processes == {}
    assert logs == []


@pytest.mark.parametrize("kind", [None, ""])
def test_a_call_without_a_body_that_can_be_counted_and_without_an_answer_needs_no_process(
    estimator: Estimator, kind: str | None
) -> None:
    large = estimator.begin("gpt-4o", kind, b"x" * (2 * KEPT))
    small = estimator.begin("gpt-4o", kind, b"x")

    assert large.finish() == small.finish() == Counted(prompt_tokens=None, completion_tokens=0)
    assert estimator._processes == {}


def test_a_long_body_is_not_kept(estimator: Estimator) -> None:
    short = estimator.begin("gpt-4o", "chat", b"x" * KEPT)
    long = estimator.begin("gpt-4o", "chat", b"x" * (KEPT + 1))

    assert (len(short._body), len(long._body)) == (KEPT, 0)
    short.drop()
    assert len(short._body) == 0


@given(texts=st.lists(st.sampled_from(["a" * 1000, "中" * 3000, "😀" * 6000, "b" * 40_000, ""]), max_size=30))
def test_however_much_is_heard_little_of_it_is_kept(texts: list[str]) -> None:
    estimator = Estimator(command=["/nonexistent/python"])
    counting = estimator.begin("gpt-4o", "chat", BODY)

    kept = []
    for text in texts:
        counting.hear(text)
        kept.append(len(counting._heard or b""))

    assert max(kept, default=0) <= KEPT_TEXT
    estimator.stop()


def test_text_that_cannot_be_sent_is_heard_all_the_same(estimator: Estimator) -> None:
    counting = estimator.begin("gpt-4o", "chat", BODY)

    counting.hear("half an emoji: \ud83d")

    assert bytes(counting._heard or b"") == b"half an emoji: ?"
    counting.drop()


def test_what_comes_after_the_end_of_a_call_is_not_taken(estimator: Estimator) -> None:
    counting = estimator.begin("gpt-4o", "chat", BODY)
    counting.drop()

    counting.hear("more" * KEPT)
    counting.drop()

    assert counting.finish() == UNKNOWN
    assert estimator._processes == {}


def test_without_a_process_there_are_no_figures_and_one_event_tells_why(estimator: Estimator) -> None:
    counting = estimator.begin("gpt-4o", "chat", BODY)
    counting.hear("Hello, a secret answer")

    with capture_logs() as logs:
        found = counting.finish()
        soon(lambda: logs)

    assert found == UNKNOWN
    assert [(event["event"], event["log_level"], event["kind"]) for event in logs] == [
        ("tokens.process_died", "warning", "FileNotFoundError 2")
    ]
    assert "secret" not in str(logs)


def test_a_process_that_dies_at_once_is_not_started_again_and_again() -> None:
    estimator = Estimator(command=[sys.executable, "-c", "raise SystemExit(7)"], rest=3600)

    with capture_logs() as logs:
        found = [estimator.begin("gpt-4o", "chat", BODY).finish()]
        soon(lambda: logs)
        found += [estimator.begin("gpt-4o", "chat", BODY).finish() for _ in range(3)]
        gevent.sleep(0)
    estimator.stop()

    assert {each.prompt_tokens for each in found} == {None}
    assert [(event["event"], event["exit"], event["pending"]) for event in logs] == [("tokens.process_died", 7, 1)]


def test_after_its_rest_another_is_started() -> None:
    estimator = Estimator(command=[sys.executable, "-c", "raise SystemExit(7)"], rest=0)

    with capture_logs() as logs:
        for number in (1, 2):
            estimator.begin("gpt-4o", "chat", BODY).finish()
            soon(lambda n=number: len(logs) == n)  # type: ignore[misc]
    estimator.stop()

    assert [event["event"] for event in logs] == ["tokens.process_died"] * 2


NEVER_READS = [sys.executable, "-c", "import select; p = select.poll(); p.register(0, 0); p.poll()"]
"""It ends when its socket is closed, and looks at nothing else."""


@pytest.fixture
def deaf() -> Iterator[Estimator]:
    """One whose process holds its socket open, and never reads from it."""
    estimator = Estimator(command=NEVER_READS, patience=0.05)
    yield estimator
    estimator.stop()
    soon(lambda: not children())  # it may have been about to start


def test_a_process_that_is_too_slow_is_not_waited_for_longer_than_patience(deaf: Estimator) -> None:
    counting = deaf.begin("gpt-4o", "chat", BODY)
    counting.hear("Hello")

    assert counting.finish() == UNKNOWN


def test_sending_what_nobody_reads_holds_up_nobody_and_has_a_bound(
    deaf: Estimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_BEHIND", 3_000_000)
    countings = [deaf.begin("gpt-4o", "chat", b"x" * 1_000_000) for _ in range(5)]
    gevent.sleep(0.01)

    process = deaf._processes[False]
    over = [counting._input.over.is_set() for counting in countings if counting._input]

    assert over == [False, False, False, True, True]
    assert process.behind == 3_000_000


def test_what_is_dropped_makes_room(deaf: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_BEHIND", 3_000_000)
    first = [deaf.begin("gpt-4o", "chat", b"x" * 1_000_000) for _ in range(3)]
    gevent.sleep(0.01)

    for counting in first:
        counting.drop()
    next_one = deaf.begin("gpt-4o", "chat", b"x" * 1_000_000)

    assert deaf._processes[False].behind == 1_000_000
    assert next_one._input
    assert not next_one._input.over.is_set()


def test_a_text_that_got_too_far_ahead_has_no_figure(deaf: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_BEHIND", 100_000)
    counting = deaf.begin("gpt-4o", None, b"")

    for _ in range(20):
        counting.hear("x" * 20_000)

    assert deaf._processes[False].behind == 0
    assert counting.finish() == UNKNOWN


def test_stopping_ends_who_waits_and_what_was_started(deaf: Estimator) -> None:
    deaf.patience = 600
    waiting = [gevent.spawn(deaf.begin("gpt-4o", kind, BODY).finish) for kind in ("chat", "embeddings")]
    soon(children)
    before = children()

    deaf.stop()
    gevent.joinall(waiting, timeout=20)

    assert [greenlet.value for greenlet in waiting] == [Counted(completion_tokens=0)] * 2
    assert len(before) == 1
    soon(lambda: not children())


def test_a_stopped_one_starts_nothing_more(estimator: Estimator) -> None:
    estimator.stop()

    with capture_logs() as logs:
        counting = estimator.begin("gpt-4o", "chat", b"x" * (2 * KEPT))
        counting.hear("x" * (2 * KEPT))
        found = counting.finish()

    assert found == UNKNOWN
    assert logs == []
    assert estimator._processes == {}


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_stopping_while_it_is_being_started_leaves_nothing_behind(turns: int) -> None:
    estimator = Estimator(command=NEVER_READS)
    estimator.begin("gpt-4o", "chat", b"x" * (2 * KEPT))
    for _ in range(turns):
        gevent.sleep(0)

    estimator.stop()
    soon(lambda: not estimator._processes[False]._sending)

    soon(lambda: not children())
