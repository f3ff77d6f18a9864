"""Deliveries to plugins of every temper, from a ledger in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import billiard.common
import pytest
from structlog.testing import capture_logs

from llm_one_api.books.deliver import Delivered, Pace, deliver
from llm_one_api.plugins.interfaces import ExactStatsPlugin, PluginConfig, ResponseInfo, StatsPlugin
from llm_one_api.plugins.running import StatsPlugins
from tests.harness.plugins import install
from tests.harness.records import context, record
from tests.unit.books.shelf import Shelf

SECRET = "postgresql://u:hunter2hunter2@h/stats"


class Clock:
    """A time that passes when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


class Keeping(StatsPlugin):
    """Keeps what it is given where a test can see it; each test begins with nothing."""

    seen: list[str] = []  # noqa: RUF012
    events: list[str] = []  # noqa: RUF012
    trouble: Callable[[str], object] = staticmethod(lambda _: None)
    """Called with the step's name or the request's id, before it counts."""

    def __init__(self, config: PluginConfig) -> None:
        super().__init__(config)
        self.events.append("made")
        type(self).trouble("made")

    def initialize(self) -> None:
        self.events.append("initialized")
        type(self).trouble("initialized")

    def record_response(self, response_info: ResponseInfo) -> None:
        type(self).trouble(response_info["request_id"])
        self.seen.append(response_info["request_id"])

    def cleanup(self) -> None:
        self.events.append("cleaned up")
        type(self).trouble("cleaned up")


class Waiting(Keeping):
    async def initialize(self) -> None:  # type: ignore[override]
        self.loop = asyncio.get_running_loop()

    async def record_response(self, response_info: ResponseInfo) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is self.loop
        super().record_response(response_info)

    async def cleanup(self) -> None:  # type: ignore[override]
        assert asyncio.get_running_loop() is self.loop
        super().cleanup()


class Noting(Keeping):
    def record_request(self, request_info: ResponseInfo) -> None:
        self.seen.append(f"request {request_info['request_id']}")
        request_info["model"] = "changed"

    def record_response(self, response_info: ResponseInfo) -> None:
        assert response_info["model"] == "gpt-3.5-turbo"
        super().record_response(response_info)


class Hanging(Keeping):
    async def record_response(self, response_info: ResponseInfo) -> None:  # type: ignore[override]
        try:
            await asyncio.sleep(30)
        finally:
            self.events.append("its finally ran")


class Exact(ExactStatsPlugin):
    """Keeps its own place, outside of any instance."""

    place: int | None = None
    seen: list[str] = []  # noqa: RUF012
    stuck = False
    """Whether it keeps nothing and says nothing, as a `record_batch` without a `return` does."""

    def position(self, since: int) -> int:
        if Exact.place is None:
            Exact.place = since
        return Exact.place

    def record_batch(self, after: int, upto: int, infos: Any) -> bool:
        if Exact.stuck:
            return None  # type: ignore[return-value]
        if after != Exact.place:
            return False
        Exact.place = upto
        self.seen.extend(info["request_id"] for info in infos)
        return True


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    Keeping.seen, Keeping.events, Keeping.trouble = [], [], staticmethod(lambda _: None)
    Exact.place, Exact.seen, Exact.stuck = None, [], False
    CLOCK.now = 1000.0
    kinds = {cls.__name__.lower(): f"{__name__}:{cls.__name__}" for cls in (Keeping, Waiting, Noting, Hanging, Exact)}
    install(monkeypatch, tmp_path, {"stats": kinds})
    yield
    Keeping.trouble = staticmethod(lambda _: None)
    while OPEN:
        OPEN.pop().close()


OPEN: list[StatsPlugins] = []


def make(tmp_path: Path, *names: str, call_timeout: float = 10.0) -> StatsPlugins:
    """Switch plugins on; they are closed when the test ends."""
    sections = {name: {"url": SECRET} for name in names}
    OPEN.append(StatsPlugins(names, sections, context(tmp_path), call_timeout=call_timeout))
    return OPEN[-1]


def shelf(count: int) -> Shelf:
    return Shelf([record(number + 1) for number in range(count)], CLOCK)


def ids(*numbers: int) -> list[str]:
    return [record(number).request_id for number in numbers]


def raising(where: str, error: BaseException) -> None:
    """Let the plugin raise *error* at *where*."""

    def trouble(step: str) -> None:
        if step == where:
            raise error

    Keeping.trouble = staticmethod(trouble)


@pytest.mark.parametrize("name", ["keeping", "waiting"])
def test_a_plain_and_an_async_plugin_get_every_record_once_and_in_order(tmp_path: Path, name: str) -> None:
    ledger, plugins = shelf(1100), make(tmp_path, name)

    first = deliver(ledger, name, plugins, clock=CLOCK)
    again = deliver(ledger, name, plugins, clock=CLOCK)
    plugins.close()

    assert Keeping.seen == ids(*range(1, 1101))
    assert (first, again) == (Delivered(records=1100), Delivered(records=0))
    assert Keeping.events[0] == "made"
    assert Keeping.events.count("made") == Keeping.events.count("cleaned up") == 1


def test_the_request_is_told_just_before_the_response_and_cannot_change_it(tmp_path: Path) -> None:
    plugins = make(tmp_path, "noting")

    deliver(shelf(2), "noting", plugins, clock=CLOCK)

    one, two = ids(1, 2)
    assert Keeping.seen == [f"request {one}", one, f"request {two}", two]


def test_the_cursor_moves_after_each_chunk_and_after_each_second(tmp_path: Path) -> None:
    def slow(step: str) -> None:
        CLOCK.now += 0.4 if step in ids(*range(1, 5)) else 0

    Keeping.trouble = staticmethod(slow)
    ledger = shelf(1100)

    deliver(ledger, "keeping", make(tmp_path, "keeping"), clock=CLOCK)

    assert ledger.cursors.moves == [("keeping", 3), ("keeping", 500), ("keeping", 1000), ("keeping", 1100)]


def test_only_one_delivers_to_a_plugin_at_a_time(tmp_path: Path) -> None:
    ledger = shelf(3)
    held = ledger.cursors.lease("keeping", "another process", 60)
    assert held is not None

    meanwhile = deliver(ledger, "keeping", make(tmp_path, "keeping"), clock=CLOCK)
    ledger.cursors.release(held)
    after = deliver(ledger, "keeping", make(tmp_path, "keeping"), clock=CLOCK)

    assert (meanwhile, after) == (Delivered(), Delivered(records=3))


def test_the_lease_of_a_process_that_died_runs_out(tmp_path: Path) -> None:
    ledger = shelf(3)
    ledger.cursors.lease("keeping", "a process that was killed", 60)

    CLOCK.now += 61
    after = deliver(ledger, "keeping", make(tmp_path, "keeping"), clock=CLOCK)

    assert after == Delivered(records=3)


def test_who_lost_the_lease_stops_and_leaves_the_cursor_to_the_other(tmp_path: Path) -> None:
    ledger = shelf(5)

    def somebody_else_takes_over(step: str) -> None:
        if step == ids(2)[0]:
            CLOCK.now += 61
            other = ledger.cursors.lease("keeping", "another process", 60)
            assert other is not None
            ledger.cursors.advance(other, 4)

    Keeping.trouble = staticmethod(somebody_else_takes_over)

    with capture_logs() as logs:
        result = deliver(ledger, "keeping", make(tmp_path, "keeping"), clock=CLOCK)

    assert result == Delivered(records=2)
    assert ledger.cursors.rows["keeping"].seq == 4
    assert [line["event"] for line in logs] == ["delivery.lease_lost"]


def test_a_record_whose_hint_came_too_early_is_not_left_lying(tmp_path: Path) -> None:
    ledger = shelf(1)
    release = ledger.cursors.release

    def commit_just_before(lease: Any, seq: int | None = None) -> bool:
        if len(ledger.records) == 1:
            ledger.records.append(record(2))
        return release(lease, seq)

    ledger.cursors.release = commit_just_before  # type: ignore[method-assign]

    deliver(ledger, "keeping", make(tmp_path, "keeping"), clock=CLOCK)

    assert Keeping.seen == ids(1, 2)


def test_a_delivery_with_much_to_do_gives_way_in_time_and_says_so(tmp_path: Path) -> None:
    def slow(step: str) -> None:
        CLOCK.now += 1 if step in ids(*range(1, 100)) else 0

    Keeping.trouble = staticmethod(slow)
    ledger, plugins = shelf(50), make(tmp_path, "keeping")

    first = deliver(ledger, "keeping", plugins, Pace(run_for=20), clock=CLOCK)
    second = deliver(ledger, "keeping", plugins, Pace(run_for=60), clock=CLOCK)

    assert (first, second) == (Delivered(records=20, more=True), Delivered(records=30))
    assert Keeping.seen == ids(*range(1, 51))


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), SystemExit(3), asyncio.CancelledError(), AssertionError(), KeyboardInterrupt()]
)
@pytest.mark.parametrize("where", ["made", "initialized", *ids(3), "cleaned up"])
def test_a_plugin_that_raises_is_tried_again_in_a_fresh_instance_from_where_it_stopped(
    tmp_path: Path, where: str, error: BaseException
) -> None:
    ledger, plugins = shelf(5), make(tmp_path, "keeping")
    raising(where, error)
    if where == "cleaned up":
        raising(ids(3)[0], error)

    with capture_logs() as logs:
        failed = deliver(ledger, "keeping", plugins, clock=CLOCK)
    too_early = deliver(ledger, "keeping", plugins, clock=CLOCK)
    CLOCK.now += 1
    Keeping.trouble = staticmethod(lambda _: None)
    healed = deliver(ledger, "keeping", plugins, clock=CLOCK)

    before = 2 if where in {ids(3)[0], "cleaned up"} else 0
    assert failed.records == before
    assert type(error).__name__ in str(failed.error)
    assert too_early == Delivered()
    assert healed == Delivered(records=5 - before)
    assert Keeping.seen == ids(1, 2, 3, 4, 5)
    assert Keeping.events.count("made") == 2
    (told,) = (line for line in logs if line["event"] == "plugin.failed")
    assert (told["plugin"], told["after_seq"], told["retry_in"]) == ("keeping", before, 1.0)


def test_the_longer_a_plugin_fails_the_rarer_it_is_tried(tmp_path: Path) -> None:
    ledger, plugins = shelf(2), make(tmp_path, "keeping")
    raising("initialized", RuntimeError("its database is away"))

    waits = []
    with capture_logs() as logs:
        for _ in range(11):
            deliver(ledger, "keeping", plugins, clock=CLOCK)
            CLOCK.now = ledger.cursors.rows["keeping"].retry_at
    waits = [line["retry_in"] for line in logs]

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_getting_on_ends_the_waiting_from_before(tmp_path: Path) -> None:
    ledger, plugins = shelf(2), make(tmp_path, "keeping")
    for stuck_at in ids(1, 1, 2):
        raising(stuck_at, RuntimeError("no"))
        CLOCK.now = ledger.cursors.rows["keeping"].retry_at if ledger.cursors.rows else CLOCK.now
        deliver(ledger, "keeping", plugins, clock=CLOCK)

    assert ledger.cursors.rows["keeping"].retry_at == CLOCK.now + 1


def test_the_report_names_the_place_and_no_secret(tmp_path: Path) -> None:
    raising(ids(1)[0], RuntimeError(f"cannot use {SECRET}: password hunter2hunter2"))
    ledger = shelf(1)

    with capture_logs() as logs:
        result = deliver(ledger, "keeping", make(tmp_path, "keeping"), clock=CLOCK)

    assert "hunter2" not in f"{logs} {result} {ledger.cursors.rows}"
    assert "test_deliver.py:" in str(result.error)


def test_a_process_that_is_told_to_end_during_a_call_is_no_failure_of_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billiard.common.maybe_setsignal", lambda *_: None)
    monkeypatch.setattr("billiard.common._should_have_exited", [False])
    ledger, plugins = shelf(5), make(tmp_path, "keeping")
    Keeping.trouble = staticmethod(lambda step: step == ids(3)[0] and billiard.common._shutdown_cleanup(15, None))

    with pytest.raises(SystemExit):
        deliver(ledger, "keeping", plugins, clock=CLOCK)
    Keeping.trouble = staticmethod(lambda _: None)
    result = deliver(ledger, "keeping", plugins, clock=CLOCK)

    assert result == Delivered(records=3)
    assert Keeping.seen == ids(1, 2, 3, 4, 5)


def test_one_that_fails_costs_the_others_nothing(tmp_path: Path) -> None:
    ledger, plugins = shelf(5), make(tmp_path, "keeping", "waiting", "exact")
    raising(ids(1)[0], SystemExit(1))
    deliver(ledger, "keeping", plugins, clock=CLOCK)
    Keeping.trouble = staticmethod(lambda _: None)

    others = [deliver(ledger, name, plugins, clock=CLOCK) for name in ("waiting", "exact")]

    assert others == [Delivered(records=5), Delivered(records=5)]


def test_a_call_that_hangs_is_ended_and_counts_as_failed(tmp_path: Path) -> None:
    def hang(step: str) -> None:
        if step == ids(2)[0]:
            threading.Event().wait(30)

    Keeping.trouble = staticmethod(hang)

    result = deliver(shelf(3), "keeping", make(tmp_path, "keeping", call_timeout=0.1), clock=CLOCK)

    assert result.records == 1
    assert "record_response took longer than 0.1 s" in str(result.error)


def test_an_async_call_that_hangs_is_ended_in_any_thread_and_may_tidy_up(tmp_path: Path) -> None:
    results: list[Delivered] = []

    def work() -> None:
        plugins = make(tmp_path, "hanging", call_timeout=0.1)
        results.append(deliver(shelf(1), "hanging", plugins, clock=CLOCK))
        plugins.close()

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert ["took longer than" in str(result.error) for result in results] == [True, True]
    assert Keeping.events.count("its finally ran") == 2


def test_what_the_ledger_raises_is_nobodys_failure_and_gives_the_lease_back(tmp_path: Path) -> None:
    ledger = shelf(1100)
    read = ledger.read

    def broken(after: int, limit: int) -> Any:
        if after == 500:
            raise ConnectionError("the ledger is away")
        return read(after, limit)

    ledger.read = broken  # type: ignore[method-assign]

    with pytest.raises(ConnectionError):
        deliver(ledger, "keeping", make(tmp_path, "keeping"), clock=CLOCK)

    assert (ledger.cursors.rows["keeping"].failures, ledger.cursors.rows["keeping"].seq) == (0, 500)
    assert ledger.cursors.lease("keeping", "next", 60) is not None


def test_records_that_are_gone_from_the_ledger_are_not_waited_for(tmp_path: Path) -> None:
    ledger, plugins = shelf(5), make(tmp_path, "keeping", "exact")
    ledger.read = lambda after, limit: []  # type: ignore[method-assign]

    results = [deliver(ledger, name, plugins, clock=CLOCK) for name in ("keeping", "exact")]

    assert results == [Delivered(), Delivered()]


def test_an_exact_plugin_goes_on_from_its_own_place(tmp_path: Path) -> None:
    ledger, plugins = shelf(1100), make(tmp_path, "exact")
    Exact.place = 7

    result = deliver(ledger, "exact", plugins, clock=CLOCK)

    assert result == Delivered(records=1093)
    assert Exact.seen == ids(*range(8, 1101))
    assert ledger.cursors.rows["exact"].seq == 1100


def test_an_exact_plugin_that_lost_everything_begins_its_run_again(tmp_path: Path) -> None:
    ledger, plugins = shelf(10), make(tmp_path, "exact")
    ledger.cursors.begin_run("exact", 4)
    deliver(ledger, "exact", plugins, clock=CLOCK)
    Exact.place, Exact.seen = None, []
    ledger.records.append(record(11))

    deliver(ledger, "exact", plugins, clock=CLOCK)

    assert Exact.seen == ids(*range(5, 12))
    assert ledger.cursors.rows["exact"].seq == 11


def test_an_exact_plugin_that_counted_in_another_ledger_goes_on_in_this_one(tmp_path: Path) -> None:
    Exact.place = 5000

    with capture_logs() as logs:
        deliver(shelf(3), "exact", make(tmp_path, "exact"), clock=CLOCK)

    assert Exact.seen == ids(1, 2, 3)
    assert [line["event"] for line in logs] == ["plugin.place_unknown"]


def test_a_batch_that_somebody_else_has_counted_is_not_counted_again(tmp_path: Path) -> None:
    ledger = shelf(6)
    read = ledger.read

    def other_was_faster(after: int, limit: int) -> Any:
        kept = read(after, limit)
        if after == 0:
            Exact.place = 2
        return kept

    ledger.read = other_was_faster  # type: ignore[method-assign]

    deliver(ledger, "exact", make(tmp_path, "exact"), clock=CLOCK)

    assert Exact.seen == ids(3, 4, 5, 6)


def test_an_exact_plugin_that_neither_keeps_nor_moves_is_put_off_like_one_that_raises(tmp_path: Path) -> None:
    ledger = shelf(6)
    Exact.stuck = True

    result = deliver(ledger, "exact", make(tmp_path, "exact"), clock=CLOCK)

    assert result.records == 0
    assert "record_batch did not return True" in str(result.error)
    assert ledger.cursors.rows["exact"].retry_at == CLOCK.now + 1


def test_an_exact_plugin_that_others_move_all_the_time_gives_way_in_time(tmp_path: Path) -> None:
    ledger = shelf(600)
    read = ledger.read

    def others_are_faster(after: int, limit: int) -> Any:
        CLOCK.now += 1
        Exact.place = after + 1
        return read(after, limit)

    ledger.read = others_are_faster  # type: ignore[method-assign]

    result = deliver(ledger, "exact", make(tmp_path, "exact"), Pace(run_for=20), clock=CLOCK)

    assert result == Delivered(more=True)


def test_a_plugin_that_is_not_on_is_refused_by_name(tmp_path: Path) -> None:
    result = deliver(shelf(1), "waiting", make(tmp_path, "keeping"), clock=CLOCK)

    assert "'waiting' is not on; on: keeping" in str(result.error)
