"""What each page of `llm-one-api stats` looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from llm_one_api.cli.statistics import marks, tables
from llm_one_api.cli.statistics.figures import UNKNOWN, count, money, seconds, share
from llm_one_api.cli.table import cell
from llm_one_api.reporting import answering
from llm_one_api.reporting.asking import Calls, Top
from llm_one_api.reporting.layout import with_nothing
from llm_one_api.reporting.ranking import ranked
from llm_one_api.reporting.reading import cursor_text
from llm_one_api.stores.ledger.analysis import Analysis, Bucket, PeakHour, Question, Row, Sums
from llm_one_api.stores.ledger.slots import local_hour, periods

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MOST_LINES = 12
"""Groups that have a sparkline."""
_SPARK = 60
_CELLS = ((3, 1), (2, 3), (1, 6))
"""How wide an hour of the heat map is, and which hours are named: as much as there is room for."""
_BESIDE = 14
"""What stands beside it: days, and calls."""
_TOGETHER = "all calls"


class Canvas(NamedTuple):
    """What is drawn on."""

    width: int
    ascii_only: bool

    @classmethod
    def of(cls, console: Console) -> Canvas:
        """Look at a terminal, or at what takes its place."""
        return cls(console.width, console.options.ascii_only)


def usage(analysis: Analysis, question: Question, canvas: Canvas) -> RenderableType:
    """Show sums; with neither buckets nor groups, an overview of all."""
    if question.bucket is None and not question.group_by:
        return _overview(analysis, question, canvas)
    rows = analysis.ask(question, answering.MOST_ROWS)
    if not rows:
        return Group(_when(question), Text("No calls."))
    drawn: list[RenderableType] = [_when(question)]
    if question.bucket is not None:
        drawn += [_trends(rows, question, canvas), Text()]
    return Group(*drawn, tables.of_rows(rows, question, canvas.width))


def top(analysis: Analysis, asked: Top, canvas: Canvas) -> RenderableType:
    """Show who is on top."""
    found = ranked(analysis, asked)
    if not found:
        return Group(_when(asked.question), Text(f"No {'calls' if asked.by == 'requests' else asked.by}."))
    title = Text(f"By {asked.by}", style="bold")
    return Group(
        _when(asked.question),
        title,
        tables.of_top(found, asked.question.group_by, canvas.width, ascii_only=canvas.ascii_only),
    )


def peak_hours(analysis: Analysis, question: Question, canvas: Canvas) -> RenderableType:
    """Show the hours of the week as a heat map."""
    hours = analysis.peak_hours(question)
    if not hours:
        return Group(_when(question), Text("No calls."))
    busiest = max(hours, key=lambda hour: hour.sums.requests)
    calls = sum(hour.sums.requests for hour in hours)
    said = (
        f"Busiest: {_DAYS[busiest.weekday]} {busiest.hour:02}:00, "
        f"{count(busiest.sums.requests)} of {count(calls)} calls."
    )
    return Group(_when(question), _heat_map(hours, busiest.sums.requests, canvas), Text(said))


def calls(analysis: Analysis, asked: Calls, canvas: Canvas) -> RenderableType:
    """Show single calls."""
    found, behind = analysis.requests(
        where=asked.where, key=asked.key, before=asked.before, limit=asked.limit, since=asked.since, until=asked.until
    )
    if not found:
        return Text("No calls.")
    drawn: list[RenderableType] = [tables.of_calls(found, asked.zone, canvas.width)]
    if behind is not None:
        drawn.append(Text(f"More: --before {cursor_text(behind)}"))
    return Group(*drawn)


# -- sums --


def _overview(analysis: Analysis, question: Question, canvas: Canvas) -> RenderableType:
    [everything] = with_nothing(analysis.ask(question), question)
    if not everything.sums.requests:
        return Group(_when(question), Text("No calls."))
    bucketed = msgspec.structs.replace(question, bucket=_fitting(question), percentiles=False)
    trend = analysis.ask(bucketed, answering.MOST_ROWS)
    by_model = msgspec.structs.replace(question, group_by=("model",))
    return Group(
        _when(question),
        _figures(everything, _Trend(trend, bucketed), canvas),
        Text(),
        tables.of_rows(analysis.ask(by_model, answering.MOST_ROWS), by_model, canvas.width),
    )


def _figures(row: Row, trend: _Trend, canvas: Canvas) -> Table:
    """Draw what matters most, each with its course where it has one."""
    sums = row.sums
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(justify="right")
    grid.add_column(style="cyan")
    unpriced = f", {count(sums.unpriced)} unpriced" if sums.unpriced else ""
    p95 = f", 95 % within {seconds(row.duration.p95)} s" if row.duration else ""
    lines: list[tuple[str, str, Sequence[float] | None]] = [
        ("Calls", count(sums.requests), trend.of(lambda s: s.requests)),
        ("Errors", share(sums.error_rate), trend.of(lambda s: s.failed)),
        ("Tokens", count(sums.total_tokens), trend.of(lambda s: s.total_tokens)),
        ("Cost", money(sums.cost) + unpriced, trend.of(lambda s: float(s.cost or 0))),
        ("Duration", f"{seconds(sums.avg_duration)} s{p95}", None),
        ("First byte", f"{seconds(sums.avg_ttft)} s", None),
        ("Streams", share(sums.streams / sums.requests if sums.requests else None), None),
    ]
    width = max(10, min(_SPARK, canvas.width - 50))
    for name, figure, course in lines:
        drawn = "" if course is None else marks.sparkline(course, width, ascii_only=canvas.ascii_only)
        grid.add_row(name, figure, Text(drawn))
    return grid


def _trends(rows: Sequence[Row], question: Question, canvas: Canvas) -> RenderableType:
    """Draw the course of each group's calls, the busiest first."""
    groups: dict[tuple[str | bool, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.group.values()), []).append(row)
    busiest = sorted(groups.items(), key=lambda item: -sum(row.sums.requests for row in item[1]))
    width = max(10, min(_SPARK, canvas.width - 40))
    lines = []
    for values, its in busiest[:_MOST_LINES]:
        course = _Trend(its, question).of(lambda sums: sums.requests)
        name = cell(" ".join([str(value) or UNKNOWN for value in values])) or _TOGETHER
        calls = count(sum(row.sums.requests for row in its))
        lines.append((name, marks.sparkline(course, width, ascii_only=canvas.ascii_only), calls))
    beside = max(len(drawn) + len(calls) for _, drawn, calls in lines) + 4
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=max(8, canvas.width - beside))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    for name, drawn, calls in lines:
        grid.add_row(Text(name), Text(drawn), calls)
    return grid


class _Trend:
    """The course of sums over all buckets, those without calls included."""

    def __init__(self, rows: Sequence[Row], question: Question) -> None:
        # By UTC: two hours of one name, when clocks are put back, are equal in their zone.
        self._by_bucket = {row.bucket.astimezone(UTC): row.sums for row in rows if row.bucket}
        self._begins = list(_begins(question))

    def of(self, figure: Callable[[Sums], float]) -> list[float]:
        """Give one figure's."""
        nothing = Sums()
        return [figure(self._by_bucket.get(begin, nothing)) for begin in self._begins]


def _begins(question: Question) -> Iterator[datetime]:
    """Give where the buckets of a question begin, in UTC."""
    zone, bucket = question.zone, question.bucket
    if bucket in {"day", "month"}:
        yield from (begin for begin, _ in periods(zone, bucket, question.since, question.until))
        return
    at = question.since.astimezone(UTC)
    while at < question.until:
        yield at
        at = at + timedelta(minutes=15) if bucket == "15m" else local_hour(at + timedelta(hours=1), zone)


def _fitting(question: Question) -> Bucket:
    """Choose buckets of which a line has enough and not too many."""
    span = question.until - question.since
    if span <= timedelta(days=3):
        return "hour"
    return "day" if span <= timedelta(days=400) else "month"


# -- hours of the week --


def _heat_map(hours: Sequence[PeakHour], highest: int, canvas: Canvas) -> Table:
    size, each = next((one for one in _CELLS if one[0] * 24 + _BESIDE <= canvas.width), _CELLS[-1])
    by_place = {(hour.weekday, hour.hour): hour.sums.requests for hour in hours}
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row("", Text("".join([f"{hour:<{size * each}}" for hour in range(0, 24, each)]), style="dim"), "CALLS")
    for weekday, name in enumerate(_DAYS):
        line = Text()
        for hour in range(24):
            line += marks.shade(by_place.get((weekday, hour), 0), highest, size, ascii_only=canvas.ascii_only)
        grid.add_row(name, line, count(sum(by_place.get((weekday, hour), 0) for hour in range(24))))
    return grid


def _when(question: Question) -> Text:
    """Say of when it is."""
    since, until = (at.astimezone(question.zone) for at in (question.since, question.until))
    return Text(f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} {question.zone.key}", style="dim")
