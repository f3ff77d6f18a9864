"""Dead letters handed over once more, and plugins set back: what is done, what is left as it was, and what is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_one_api.books.deliver import deliver
from llm_one_api.books.deliver.replay import CannotReplay, Replayed, replay, rewind
from llm_one_api.plugins.interfaces import ExactStatsPlugin, PluginConfig, ResponseInfo, StatsPlugin
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.plugins import install
from tests.harness.records import context, record


class Plain(StatsPlugin):
    """Does what a test says; each test begins with nothing."""

    seen: list[int] = []  # noqa: RUF012
    made = 0
    trouble: Callable[[int], object] = staticmethod(lambda _: None)

    def __init__(self, config: PluginConfig) -> None:
        super().__init__(config)
        type(self).trouble(0)
        Plain.made += 1

    def record_response(self, response_info: ResponseInfo) -> None:
        number = int(response_info["request_id"].rpartition("-")[2])
        type(self).trouble(number)
        Plain.seen.append(number)


class Exact(ExactStatsPlugin):
    """Has a place, and does not begin anew."""

    place = 0
    seen: list[int] = []  # noqa: RUF012

    def position(self, since: int) -> int:
        return Exact.place

    def record_batch(self, after: int, upto: int, infos: Any) -> bool:
        if after != Exact.place:
            return False
        Exact.place = upto
        Exact.seen.extend(int(info["request_id"].rpartition("-")[2]) for info in infos)
        return True


class Restarting(Exact):
    def restart(self, since: int) -> None:
        Exact.place, Exact.seen = since, []


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    ledger.ingest([record(number) for number in range(1, 7)])
    return ledger


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsPlugins]:
    kinds = {cls.__name__.lower(): f"{__name__}:{cls.__name__}" for cls in (Plain, Exact, Restarting)}
    install(monkeypatch, tmp_path, {"stats": kinds})
    Plain.seen, Plain.made, Plain.trouble = [], 0, staticmethod(lambda _: None)
    Exact.place, Exact.seen = 0, []
    with closing(StatsPlugins(list(kinds), {}, context(tmp_path))) as it:
        yield it
        Plain.trouble = staticmethod(lambda _: None)


def raising(error: BaseException, *numbers: int) -> None:
    def trouble(number: int) -> None:
        if number in numbers:
            raise error

    Plain.trouble = staticmethod(trouble)


def set_aside(ledger: Ledger, name: str, *places: int) -> None:
    """Let *name* have had all records but those at *places*, which are set aside."""
    lease = ledger.cursors.lease(name, "me", 60)
    for place in places:
        assert lease
        (kept,) = ledger.read(place - 1, 1)
        lease = ledger.dead_letters.set_aside(lease, kept, "no room", 8)
    assert lease
    assert ledger.cursors.release(lease, 6)


def again(ledger: Ledger, name: str, plugins: StatsPlugins, **more: Any) -> list[tuple[int | None, str | None]]:
    """Replay all of *name*: what was told of each, by place."""
    told: list[Replayed] = []
    try:
        replay(ledger, name, plugins, ledger.dead_letters.list(name), told.append, **more)
    finally:
        done = [(one.letter.seq, one.error) for one in told]
    return done


def left(ledger: Ledger) -> list[int | None]:
    return [letter.seq for letter in ledger.dead_letters.list()]


def test_each_is_tried_and_a_refused_one_keeps_the_new_reason(ledger: Ledger, plugins: StatsPlugins) -> None:
    set_aside(ledger, "plain", 1, 3, 5)
    raising(ValueError("still no room"), 3)

    told = again(ledger, "plain", plugins)

    assert [(seq, error is None) for seq, error in told] == [(1, True), (3, False), (5, True)]
    assert Plain.seen == [1, 5]
    assert Plain.made == 2
    (letter,) = ledger.dead_letters.list()
    assert (letter.seq, letter.tries) == (3, 9)
    assert letter.reason == told[1][1]
    assert "ValueError: still no room" in letter.reason


def test_a_plugin_that_cannot_be_made_costs_no_letter_its_reason(ledger: Ledger, plugins: StatsPlugins) -> None:
    set_aside(ledger, "plain", 1)
    raising(ConnectionError("its database is away"), 0)

    with pytest.raises(CannotReplay, match="the plugin plain fails: ConnectionError: its database is away"):
        again(ledger, "plain", plugins)

    assert [letter.reason for letter in ledger.dead_letters.list()] == ["no room"]


def test_to_interrupt_it_refuses_nothing(ledger: Ledger, plugins: StatsPlugins) -> None:
    set_aside(ledger, "plain", 1, 2)
    raising(KeyboardInterrupt(), 2)

    with pytest.raises(CannotReplay, match="interrupted"):
        again(ledger, "plain", plugins)

    assert [(letter.seq, letter.reason) for letter in ledger.dead_letters.list()] == [(2, "no room")]
    assert ledger.cursors.lease("plain", "next", 60) is not None


def test_a_plugin_that_is_to_be_left_alone_is_tried_all_the_same(ledger: Ledger, plugins: StatsPlugins) -> None:
    set_aside(ledger, "plain", 1)
    lease = ledger.cursors.lease("plain", "me", 60)
    assert lease
    ledger.cursors.fail(lease, "its database is away", 3600)

    told = again(ledger, "plain", plugins)

    assert told == [(1, None)]


def test_while_another_delivers_it_waits_and_says_so_in_the_end(ledger: Ledger, plugins: StatsPlugins) -> None:
    set_aside(ledger, "plain", 1)
    assert ledger.cursors.lease("plain", "another", 60)

    with pytest.raises(CannotReplay, match="another process has been delivering to plain"):
        again(ledger, "plain", plugins, wait=0.0)
    with pytest.raises(CannotReplay, match="another process has been delivering to plain"):
        rewind(ledger, "plain", plugins, 0, wait=0.0)

    assert left(ledger) == [1]


def test_an_exact_plugin_gets_a_record_again_and_stays_where_it_is(ledger: Ledger, plugins: StatsPlugins) -> None:
    set_aside(ledger, "exact", 2)
    Exact.place = 6

    told = again(ledger, "exact", plugins)

    assert told == [(2, None)]
    assert (Exact.place, Exact.seen) == (6, [2])
    assert left(ledger) == []


@pytest.mark.parametrize(
    ("since", "place", "why"),
    [(2, 6, "it is of a run that is over"), (0, 1, "exact has not come so far yet, only to 1")],
)
def test_an_exact_plugin_is_not_given_what_it_would_count_wrongly(
    ledger: Ledger, plugins: StatsPlugins, since: int, place: int, why: str
) -> None:
    set_aside(ledger, "exact", 2)
    ledger.cursors.begin_run("exact", since)
    Exact.place = place

    ((seq, error),) = again(ledger, "exact", plugins)

    assert seq == 2
    assert why in str(error)
    assert Exact.seen == []
    assert [letter.reason for letter in ledger.dead_letters.list()] == ["no room"]


def test_a_plugin_that_is_set_back_gets_all_again_from_there(ledger: Ledger, plugins: StatsPlugins) -> None:
    set_aside(ledger, "plain", 2, 5)

    done = rewind(ledger, "plain", plugins, 3)
    deliver(ledger, "plain", plugins)

    assert (done.before, done.now) == (6, 3)
    assert Plain.seen == [4, 5, 6]
    assert left(ledger) == [2]


def test_an_exact_one_forgets_and_begins_there(ledger: Ledger, plugins: StatsPlugins) -> None:
    deliver(ledger, "restarting", plugins)
    before = list(Exact.seen)

    done = rewind(ledger, "restarting", plugins, 3)
    deliver(ledger, "restarting", plugins)

    assert before == [1, 2, 3, 4, 5, 6]
    assert (done.before, done.now) == (6, 3)
    assert Exact.seen == [4, 5, 6]


def test_an_exact_one_that_cannot_begin_anew_is_left_as_it_is(ledger: Ledger, plugins: StatsPlugins) -> None:
    deliver(ledger, "exact", plugins)

    with pytest.raises(CannotReplay, match=r"the plugin exact keeps its place itself, and has no restart\(since\)"):
        rewind(ledger, "exact", plugins, 3)

    position = ledger.cursors.position("exact")
    assert position
    assert (position.seq, Exact.place) == (6, 6)


def test_nobody_is_set_forward(ledger: Ledger, plugins: StatsPlugins) -> None:
    lease = ledger.cursors.lease("plain", "me", 60)
    assert lease
    ledger.cursors.release(lease, 2)

    done = rewind(ledger, "plain", plugins, 4)

    assert (done.before, done.now) == (2, 2)
    position = ledger.cursors.position("plain")
    assert position
    assert position.seq == 2
