"""The tables of `llm-one-api stats`. Names are what others chose: none of them is markup, or obeyed by a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from rich import box
from rich.table import Table
from rich.text import Text

from llm_one_api.cli.statistics import marks
from llm_one_api.cli.statistics.figures import UNKNOWN, count, money, number, seconds, share
from llm_one_api.cli.table import cell
from llm_one_api.reporting.ranking import Ranked
from llm_one_api.stores.ledger.analysis import Bucket, Dimension, Question, Row
from llm_one_api.values import FAILED, UsageRecord, Value

_BAR = 20


class _Column(Value, frozen=True, kw_only=True):
    head: str
    of: Callable[[Row], str]
    only_if: Callable[[Row], bool] | None = None
    """It is shown if this is so of some row."""


_COLUMNS = (
    _Column(head="CALLS", of=lambda row: count(row.sums.requests)),
    _Column(head="ERRORS", of=lambda row: share(row.sums.error_rate)),
    _Column(head="INPUT", of=lambda row: count(row.sums.prompt_tokens)),
    _Column(head="OUTPUT", of=lambda row: count(row.sums.completion_tokens)),
    _Column(head="COST", of=lambda row: money(row.sums.cost)),
    _Column(
        head="UNPRICED",
        of=lambda row: count(row.sums.unpriced),
        only_if=lambda row: bool(row.sums.unpriced),
    ),
    _Column(head="AVG S", of=lambda row: seconds(row.sums.avg_duration)),
    _Column(
        head="P95 S",
        of=lambda row: seconds(row.duration.p95 if row.duration else None),
        only_if=lambda row: row.duration is not None,
    ),
    _Column(head="TTFT S", of=lambda row: seconds(row.sums.avg_ttft)),
    _Column(head="TOKENS/S", of=lambda row: number(row.sums.tokens_per_second)),
)


def of_rows(rows: Sequence[Row], question: Question) -> Table:
    """Draw sums, a line for each bucket and group."""
    table = _table()
    bucketed = question.bucket is not None
    if question.bucket is not None:
        table.add_column(question.bucket.upper())
    for name in question.group_by:
        table.add_column(name.upper())
    columns = _shown(rows)
    for column in columns:
        table.add_column(column.head, justify="right")
    for row in rows:
        begin = [_moment(row.bucket, question.bucket)] if bucketed else []
        table.add_row(*begin, *_group(row.group), *[column.of(row) for column in columns])
    return table


def of_top(ranked: Sequence[Ranked], group_by: Sequence[Dimension], *, ascii_only: bool) -> Table:
    """Draw a top list, each with its share as a bar."""
    table = _table()
    table.add_column("", justify="right")
    for name in group_by:
        table.add_column(name.upper())
    table.add_column("SHARE", justify="right")
    table.add_column("")
    columns = _shown([one.row for one in ranked])
    for column in columns:
        table.add_column(column.head, justify="right")
    for one in ranked:
        drawn = Text(marks.bar(one.share, _BAR, ascii_only=ascii_only), style="cyan")
        figures = [column.of(one.row) for column in columns]
        table.add_row(str(one.rank), *_group(one.row.group), share(one.share), drawn, *figures)
    return table


def of_calls(calls: Iterable[UsageRecord], zone: ZoneInfo) -> Table:
    """Draw single calls, the newest first."""
    table = _table()
    for head in ("AT", "MODEL", "USER", "ENDPOINT", "OUTCOME"):
        table.add_column(head)
    for head in ("STATUS", "INPUT", "OUTPUT", "COST", "SECONDS", "TTFT S"):
        table.add_column(head, justify="right")
    table.add_column("UPSTREAM")
    table.add_column("ID")
    for call in calls:
        table.add_row(
            call.at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
            _name(call.model),
            _name(call.user),
            _name(call.endpoint),
            Text(cell(f"{call.outcome} {call.error}" if call.error else call.outcome), style=_colour(call)),
            UNKNOWN if call.status is None else str(call.status),
            _tokens(call.usage.prompt_tokens),
            _tokens(call.usage.completion_tokens),
            money(call.cost),
            seconds(call.duration),
            seconds(call.ttft),
            _name(call.upstream or UNKNOWN),
            Text(call.request_id),
        )
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", safe_box=True)


def _shown(rows: Sequence[Row]) -> list[_Column]:
    return [column for column in _COLUMNS if column.only_if is None or any(map(column.only_if, rows))]


def _group(group: Mapping[Dimension, str | bool]) -> list[Text]:
    return [_name(("stream" if value else "whole") if isinstance(value, bool) else value) for value in group.values()]


def _name(name: str) -> Text:
    return Text(cell(name) or UNKNOWN)


def _moment(at: datetime | None, bucket: Bucket | None) -> str:
    """Write a bucket's begin; with its offset where an hour may come twice."""
    if at is None:
        return UNKNOWN
    return {"day": f"{at:%Y-%m-%d %a}", "month": f"{at:%Y-%m}"}.get(bucket or "", f"{at:%Y-%m-%d %H:%M%z}")


def _tokens(tokens: int | None) -> str:
    return UNKNOWN if tokens is None else count(tokens)


def _colour(call: UsageRecord) -> str:
    return "red" if call.outcome in FAILED else "green" if call.outcome == "success" else "yellow"
