"""Records that a plugin refuses, plugins that are down, and processes that die: what is set aside and what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from llm_one_api.books.deliver import Delivered, Pace, deliver
from llm_one_api.plugins.interfaces import ExactStatsPlugin, PluginConfig, ResponseInfo, StatsPlugin
from llm_one_api.plugins.running import StatsPlugins
from tests.harness.plugins import install
from tests.harness.records import context, record
from tests.unit.books.shelf import Letter, Row, Shelf

TRIES = 3
PACE = Pace(tries=TRIES, retry_min=1.0, retry_max=8.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()
ID = {record(number).request_id: number for number in range(1, 2000)}


class Plain(StatsPlugin):
    """Keeps the numbers of the calls that it is given; what is in *trouble* it does not."""

    seen: list[int] = []  # noqa: RUF012
    asked: list[int] = []  # noqa: RUF012
    instances = 0
    trouble: Callable[[int], object] = staticmethod(lambda _: None)

    def __init__(self, config: PluginConfig) -> None:
        super().__init__(config)
        type(self).trouble(0)
        Plain.instances += 1

    def record_response(self, response_info: ResponseInfo) -> None:
        number = ID[response_info["request_id"]]
        Plain.asked.append(number)
        type(self).trouble(number)
        Plain.seen.append(number)


class Several(Plain):
    """Takes them together too."""

    batches: list[int] = []  # noqa: RUF012

    def record_responses(self, response_infos: Any) -> None:
        numbers = [ID[info["request_id"]] for info in response_infos]
        for number in numbers:
            type(self).trouble(number)
        Several.batches.append(len(numbers))
        Plain.seen.extend(numbers)


class Noting(Several):
    """Wants to be told of each request before, so it cannot take them together."""

    def record_request(self, request_info: ResponseInfo) -> None:
        Plain.asked.append(-ID[request_info["request_id"]])


class Exact(ExactStatsPlugin):
    """Keeps its place with what it has counted."""

    place: int | None = None
    seen: list[int] = []  # noqa: RUF012
    trouble: Callable[[int], object] = staticmethod(lambda _: None)
    keeps_and_raises = False

    def position(self, since: int) -> int:
        type(self).trouble(0)
        if Exact.place is None:
            Exact.place = since
        return Exact.place

    def record_batch(self, after: int, upto: int, infos: Any) -> bool:
        if after != Exact.place:
            return False
        numbers = [ID[info["request_id"]] for info in infos]
        if Exact.keeps_and_raises:
            Exact.place = upto
            Exact.seen.extend(numbers)
        for number in [0, *numbers]:
            type(self).trouble(number)
        Exact.place = upto
        Exact.seen.extend(numbers)
        return True


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for kind in (Plain, Several, Exact):
        kind.seen, kind.trouble = [], staticmethod(lambda _: None)
    Plain.asked, Plain.instances, Several.batches = [], 0, []
    Several.seen = Plain.seen
    Exact.place, Exact.keeps_and_raises = None, False
    CLOCK.now = 1000.0
    install(monkeypatch, tmp_path, {"stats": {c.__name__.lower(): f"{__name__}:{c.__name__}" for c in KINDS}})


KINDS: list[type[Any]] = [Plain, Several, Noting, Exact]
NAMES = ["plain", "several", "exact"]


def seen(name: str) -> list[int]:
    return Exact.seen if name == "exact" else Plain.seen


def refuse(*numbers: int, error: Callable[[], BaseException] = lambda: ValueError("I refuse it")) -> None:
    """Let all plugins raise at these calls; 0 is the constructor, or the store of an exact one."""

    def trouble(number: int) -> None:
        if number in numbers:
            raise error()

    for kind in KINDS:
        kind.trouble = staticmethod(trouble)


def shelf(count: int) -> Shelf:
    return Shelf([record(number + 1) for number in range(count)], CLOCK)


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Callable[..., StatsPlugins]]:
    made = []

    def make(name: str) -> StatsPlugins:
        made.append(StatsPlugins([name], {}, context(tmp_path)))
        return made[-1]

    yield make
    refuse()
    for each in made:
        each.close()


def work(ledger: Shelf, name: str, plugins: StatsPlugins, times: int, pace: Pace = PACE) -> list[Delivered]:
    """Deliver so many times, each as soon as the plugin may be tried."""
    results = []
    for _ in range(times):
        results.append(deliver(ledger, name, plugins, pace, clock=CLOCK))
        CLOCK.now = max(CLOCK.now, ledger.cursors.rows[name].retry_at)
    return results


Make = Callable[..., StatsPlugins]


@pytest.mark.parametrize("name", NAMES)
def test_a_record_that_is_refused_again_and_again_is_set_aside_and_the_others_flow_on(name: str, plugins: Make) -> None:
    refuse(4)
    ledger = shelf(8)

    with capture_logs() as logs:
        work(ledger, name, plugins(name), 10)

    assert sorted(seen(name)) == [1, 2, 3, 5, 6, 7, 8]
    (letter,) = ledger.dead_letters.letters
    assert (letter.consumer, letter.seq, letter.request_id) == (name, 4, record(4).request_id)
    assert "ValueError: I refuse it" in letter.reason
    assert letter.tries == TRIES + 1
    assert ledger.cursors.rows[name].seq == 8
    (told,) = [line for line in logs if line["event"] == "plugin.record_set_aside"]
    assert told["log_level"] == "error"
    assert (told["plugin"], told["seq"], told["request_id"]) == (name, 4, letter.request_id)
    assert told["reason"] == letter.reason


@pytest.mark.parametrize("name", ["plain", "exact"])
def test_nothing_comes_twice_while_it_is_found_out_what_is_wrong(name: str, plugins: Make) -> None:
    refuse(4, 6, 7)
    ledger = shelf(40)

    work(ledger, name, plugins(name), 30)

    assert sorted(seen(name)) == [n for n in range(1, 41) if n not in {4, 6, 7}]
    assert {letter.seq for letter in ledger.dead_letters.letters} == {4, 6, 7}


def test_bad_records_in_a_row_are_found_out_together(plugins: Make) -> None:
    refuse(*range(4, 12))
    ledger = shelf(20)

    work(ledger, "plain", plugins("plain"), TRIES + 2)

    assert sorted(Plain.seen) == [1, 2, 3, *range(12, 21)]
    assert [letter.seq for letter in ledger.dead_letters.letters] == list(range(4, 12))


@pytest.mark.parametrize("name", NAMES)
def test_the_records_of_a_plugin_that_is_down_are_not_set_aside(name: str, plugins: Make) -> None:
    refuse(*range(101))
    ledger, running = shelf(50), plugins(name)

    down = work(ledger, name, running, 20)
    refuse()
    up = work(ledger, name, running, 1)

    assert all(result.error for result in down)
    assert ledger.dead_letters.letters == []
    assert up[0].records == 50
    assert sorted(seen(name)) == list(range(1, 51))


def test_the_records_of_a_plugin_that_refuses_all_of_them_are_not_set_aside(plugins: Make) -> None:
    refuse(*range(1, 101))
    ledger, running = shelf(50), plugins("plain")

    work(ledger, "plain", running, 20)
    refuse()
    work(ledger, "plain", running, 1)

    assert ledger.dead_letters.letters == []
    assert sorted(Plain.seen) == list(range(1, 51))


def test_while_it_is_down_a_bounded_number_of_records_is_tried_each_time(plugins: Make) -> None:
    refuse(*range(1, 1001))
    ledger, running = shelf(1000), plugins("plain")
    work(ledger, "plain", running, TRIES)
    Plain.asked.clear()

    work(ledger, "plain", running, 1)

    assert len(Plain.asked) == 1 + PACE.look_ahead


def test_a_record_with_none_behind_it_waits_for_one(plugins: Make) -> None:
    refuse(3)
    ledger, running = shelf(3), plugins("plain")

    work(ledger, "plain", running, 20)
    waiting = list(ledger.dead_letters.letters)
    ledger.records.append(record(4))
    work(ledger, "plain", running, 1)

    assert waiting == []
    assert [letter.seq for letter in ledger.dead_letters.letters] == [3]
    assert Plain.seen == [1, 2, 4]


def test_a_record_that_is_taken_at_last_is_not_set_aside(plugins: Make) -> None:
    refuse(2)
    ledger, running = shelf(4), plugins("plain")
    work(ledger, "plain", running, TRIES)

    refuse()
    work(ledger, "plain", running, 1)

    assert ledger.dead_letters.letters == []
    assert sorted(Plain.seen) == [1, 2, 3, 4]


@pytest.mark.parametrize("name", NAMES)
def test_that_it_cannot_be_constructed_counts_against_no_record(name: str, plugins: Make) -> None:
    ledger, running = shelf(6), plugins(name)
    refuse(0)
    work(ledger, name, running, 10 * TRIES)

    refuse(1)
    work(ledger, name, running, TRIES - 1)
    before = list(ledger.dead_letters.letters)
    work(ledger, name, running, 3)

    assert before == []
    assert [letter.seq for letter in ledger.dead_letters.letters] == [1]


def test_each_try_of_a_record_has_a_fresh_instance(plugins: Make) -> None:
    refuse(2, 3)
    ledger = shelf(5)

    work(ledger, "plain", plugins("plain"), TRIES + 1)

    failed = [n for n in Plain.asked if n in {2, 3}]
    assert Plain.instances == len(failed) + 1
    assert [letter.seq for letter in ledger.dead_letters.letters] == [2, 3]


def test_another_process_too_begins_with_a_fresh_instance_after_a_failure(plugins: Make) -> None:
    ledger, mine, others = shelf(1), plugins("plain"), plugins("plain")
    work(ledger, "plain", mine, 1)
    ledger.records.append(record(2))
    refuse(2)
    work(ledger, "plain", others, 1)
    refuse()
    before = Plain.instances

    work(ledger, "plain", mine, 1)

    assert Plain.seen == [1, 2]
    assert Plain.instances == before + 1


def test_several_at_once_go_one_by_one_after_a_failure(plugins: Make) -> None:
    refuse(700)
    ledger = shelf(1400)

    work(ledger, "several", plugins("several"), TRIES + 5)

    assert sorted(Plain.seen) == [n for n in range(1, 1401) if n != 700]
    assert len(Plain.seen) == len(set(Plain.seen))
    assert [letter.seq for letter in ledger.dead_letters.letters] == [700]
    assert max(Several.batches) == 500


def test_who_is_told_of_each_request_before_gets_them_one_by_one(plugins: Make) -> None:
    work(shelf(3), "noting", plugins("noting"), 1)

    assert Plain.asked == [-1, 1, -2, 2, -3, 3]
    assert Several.batches == []


def test_an_exact_plugin_that_keeps_a_record_and_raises_all_the_same_has_it_once(plugins: Make) -> None:
    ledger, running = shelf(3), plugins("exact")
    refuse(1)
    work(ledger, "exact", running, TRIES)
    Exact.keeps_and_raises = True

    work(ledger, "exact", running, 1)
    refuse()
    Exact.keeps_and_raises = False
    work(ledger, "exact", running, 2)

    assert ledger.dead_letters.letters == []
    assert Exact.seen == [1, 2, 3]


def test_what_is_set_aside_is_not_counted_by_an_exact_plugin_that_begins_again(plugins: Make) -> None:
    ledger, running = shelf(6), plugins("exact")
    refuse(4)
    work(ledger, "exact", running, TRIES + 3)
    refuse()
    Exact.place, Exact.seen = None, []
    ledger.records.append(record(7))

    work(ledger, "exact", running, 2)

    assert Exact.seen == [1, 2, 3, 5, 6, 7]
    assert Exact.place == 7


def test_a_crash_between_setting_aside_and_going_on_counts_nothing(plugins: Make) -> None:
    ledger, running = shelf(3), plugins("exact")
    running.get("exact").position(0)
    ledger.cursors.rows["exact"] = Row(seq=1)
    ledger.dead_letters.letters.append(Letter("exact", 1, record(1).request_id, "refused", TRIES))

    work(ledger, "exact", running, 1)

    assert Exact.seen == [2, 3]


def refuse_slowly(*numbers: int, seconds: float) -> None:
    """Let all plugins hang at these calls until they are cut."""

    def hang() -> BaseException:
        CLOCK.now += seconds
        return TimeoutError("it hangs")

    refuse(*numbers, error=hang)


def test_one_that_was_taken_before_those_before_it_does_not_come_twice_though_the_time_is_over(plugins: Make) -> None:
    refuse_slowly(3, 4, seconds=PACE.look_for / 2)
    ledger = shelf(8)

    work(ledger, "plain", plugins("plain"), 12)

    assert sorted(Plain.seen) == [1, 2, 5, 6, 7, 8]
    assert [letter.seq for letter in ledger.dead_letters.letters] == [3, 4]


def test_bad_records_in_a_row_that_take_all_the_time_there_is_are_found_out_too(plugins: Make) -> None:
    bad = range(3, 12)
    refuse_slowly(*bad, seconds=PACE.look_for / 4)
    ledger = shelf(20)

    work(ledger, "plain", plugins("plain"), 100)

    assert {letter.seq for letter in ledger.dead_letters.letters} == {*bad}
    assert set(Plain.seen) == {*range(1, 21)} - {*bad}
