"""The tables of `llm-one-api stats`. Names are what others chose: none of them is markup, or obeyed by a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import RenderableType
from rich.text import Text

from llm_one_api.cli.statistics import marks
from llm_one_api.cli.statistics.figures import UNKNOWN, count, money, number, seconds, share
from llm_one_api.cli.statistics.fitting import Column, fitted
from llm_one_api.cli.table import cell
from llm_one_api.reporting.ranking import Ranked
from llm_one_api.stores.ledger.analysis import Bucket, Dimension, Question, Row
from llm_one_api.values import FAILED, UsageRecord

_BAR, _SHORT_BAR = 20, 8
_WIDE = 120
"""Columns of a terminal that has room for long bars."""

_FIGURES: Sequence[Column[Row]] = (
    Column(head="CALLS", of=lambda row: count(row.sums.requests)),
    Column(head="ERRORS", of=lambda row: share(row.sums.error_rate), leave=1),
    Column(head="INPUT", of=lambda row: count(row.sums.prompt_tokens), leave=3),
    Column(head="OUTPUT", of=lambda row: count(row.sums.completion_tokens), leave=2),
    Column(head="COST", of=lambda row: money(row.sums.cost), leave=1),
    Column(
        head="UNPRICED",
        of=lambda row: count(row.sums.unpriced),
        only_if=lambda row: bool(row.sums.unpriced),
        leave=1,
    ),
    Column(head="AVG S", of=lambda row: seconds(row.sums.avg_duration), leave=4),
    Column(
        head="P95 S",
        of=lambda row: seconds(row.duration.p95 if row.duration else None),
        only_if=lambda row: row.duration is not None,
        leave=5,
    ),
    Column(head="TTFT S", of=lambda row: seconds(row.sums.avg_ttft), leave=6),
    Column(head="TOKENS/S", of=lambda row: number(row.sums.tokens_per_second), leave=7),
)


def of_rows(rows: Sequence[Row], question: Question, width: int) -> RenderableType:
    """Draw sums, a line for each bucket and group."""
    bucket = question.bucket
    begin = (
        []
        if bucket is None
        else [Column[Row](head=bucket.upper(), of=lambda row: _moment(row.bucket, bucket), is_text=True)]
    )
    return fitted([*begin, *_groups(question.group_by, lambda row: row), *_FIGURES], rows, width)


def of_top(ranked: Sequence[Ranked], group_by: Sequence[Dimension], width: int, *, ascii_only: bool) -> RenderableType:
    """Draw a top list, each with its share as a bar."""
    length = _BAR if width >= _WIDE else _SHORT_BAR

    def drawn(one: Ranked) -> Text:
        return Text(marks.bar(one.share, length, ascii_only=ascii_only).ljust(length), style="cyan")

    columns: list[Column[Ranked]] = [
        Column(head="", of=lambda one: str(one.rank)),
        *_groups(group_by, lambda one: one.row),
        Column(head="SHARE", of=lambda one: share(one.share)),
        Column(head="", of=drawn, is_text=True),
        *[_of_ranked(column) for column in _FIGURES],
    ]
    return fitted(columns, ranked, width)


def of_calls(calls: Sequence[UsageRecord], zone: ZoneInfo, width: int) -> RenderableType:
    """Draw single calls, the newest first."""
    columns: list[Column[UsageRecord]] = [
        Column(head="AT", of=lambda call: call.at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"), is_text=True),
        Column(head="MODEL", of=lambda call: _name(call.model), is_text=True, least=8),
        Column(head="USER", of=lambda call: _name(call.user), is_text=True, least=8),
        Column(head="ENDPOINT", of=lambda call: _name(call.endpoint), is_text=True, least=8, leave=5),
        Column(head="OUTCOME", of=_outcome, is_text=True, least=24),
        Column(head="STATUS", of=lambda call: UNKNOWN if call.status is None else str(call.status), leave=4),
        Column(head="INPUT", of=lambda call: _tokens(call.usage.prompt_tokens), leave=3),
        Column(head="OUTPUT", of=lambda call: _tokens(call.usage.completion_tokens), leave=2),
        Column(head="COST", of=lambda call: money(call.cost), leave=1),
        Column(head="SECONDS", of=lambda call: seconds(call.duration), leave=1),
        Column(head="TTFT S", of=lambda call: seconds(call.ttft), leave=6),
        Column(head="UPSTREAM", of=lambda call: _name(call.upstream or UNKNOWN), is_text=True, least=8, leave=7),
        Column(head="ID", of=lambda call: call.request_id, is_text=True, leave=8),
    ]
    return fitted(columns, calls, width)


def _groups(group_by: Sequence[Dimension], row_of: Callable[[Any], Row]) -> list[Column[Any]]:
    def taken(name: Dimension) -> Callable[[Any], Text]:
        return lambda one: _value(row_of(one).group[name])

    return [Column(head=name.upper(), of=taken(name), is_text=True, least=12) for name in group_by]


def _of_ranked(column: Column[Row]) -> Column[Ranked]:
    only_if = column.only_if
    return Column(
        head=column.head,
        of=lambda one: column.of(one.row),
        leave=column.leave,
        only_if=None if only_if is None else lambda one: only_if(one.row),
    )


def _value(value: str | bool) -> Text:
    return _name(("stream" if value else "whole") if isinstance(value, bool) else value)


def _name(name: str) -> Text:
    return Text(cell(name) or UNKNOWN)


def _moment(at: datetime | None, bucket: Bucket) -> str:
    """Write a bucket's begin; with its offset where an hour may come twice."""
    if at is None:
        return UNKNOWN
    return {"day": f"{at:%Y-%m-%d %a}", "month": f"{at:%Y-%m}"}.get(bucket, f"{at:%Y-%m-%d %H:%M%z}")


def _tokens(tokens: int | None) -> str:
    return UNKNOWN if tokens is None else count(tokens)


def _outcome(call: UsageRecord) -> Text:
    style = "red" if call.outcome in FAILED else "green" if call.outcome == "success" else "yellow"
    return Text(cell(f"{call.outcome} {call.error}" if call.error else call.outcome), style=style)
