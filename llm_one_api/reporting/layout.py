"""How sums and calls are laid out: one list of fields, for JSON, for CSV and for the pages' description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.reporting.asking import Top
from llm_one_api.reporting.parameters import OUTCOMES
from llm_one_api.reporting.ranking import Ranked
from llm_one_api.reporting.sheet import Cell, plain
from llm_one_api.stores.ledger.analysis.answers import PeakHour, Quantiles, Row, Sums
from llm_one_api.stores.ledger.analysis.questions import Dimension, Question
from llm_one_api.stores.ledger.tables import USAGE_COLUMNS
from llm_one_api.values import UsageRecord, Value

_MILLION = 10**6
COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
NUMBER: Mapping[str, Any] = {"type": ["number", "null"]}
MONEY: Mapping[str, Any] = {"type": ["string", "null"], "pattern": r"^-?[0-9]+([.][0-9]+)?$"}
OUTCOME_COUNTS: Mapping[str, Any] = {"type": "object", "additionalProperties": COUNT}


class Field(Value, frozen=True, kw_only=True):
    """One figure of some calls."""

    name: str
    of: str | Callable[[Sums], Any]
    """The attribute of sums that it is; or what works it out."""
    says: str
    schema: Mapping[str, Any] = msgspec.field(default_factory=lambda: COUNT)


def _sum(name: str, says: str, named: str | None = None) -> Field:
    return Field(name=named or name, of=name, says=says)


def _seconds(name: str, says: str, named: str) -> Field:
    return Field(name=named, of=lambda sums: getattr(sums, name) / _MILLION, says=says, schema={"type": "number"})


def _follows(name: str, says: str, schema: Mapping[str, Any] = NUMBER) -> Field:
    return Field(name=name, of=name, says=says, schema=schema)


FIELDS = (
    _sum("requests", "Calls."),
    _sum("attempts", "Tries at upstreams."),
    _sum("sdk_retries", "Calls that the caller's SDK had tried before."),
    _sum("streams", "Calls that were streams."),
    Field(
        name="stream_share",
        of=lambda sums: round(sums.streams / sums.requests, 6) if sums.requests else None,
        says="Streams / calls.",
        schema=NUMBER,
    ),
    Field(
        name="outcomes",
        of="outcomes",
        says="Calls by how they ended.",
        schema=OUTCOME_COUNTS,
    ),
    _follows("failed", "Calls that count as errors.", COUNT),
    _follows("error_rate", "Failed / (failed + success)."),
    *[_sum(name, f"`{name}` of the calls that tell them.") for name in USAGE_COLUMNS],
    _seconds("audio_us", "Seconds of sound.", "audio_seconds"),
    _sum("with_prompt_tokens", "Calls whose input is known.", "requests_with_prompt_tokens"),
    _sum("with_completion_tokens", "Calls whose output is known.", "requests_with_completion_tokens"),
    _sum("with_tokens", "Calls whose total is known.", "requests_with_tokens"),
    _sum("estimated", "Calls whose tokens were counted by us.", "requests_estimated"),
    _sum("partial", "Calls whose tokens are those of a cut answer.", "requests_partial"),
    _follows("avg_tokens", "Tokens a call, where they are known."),
    _follows("input_output_ratio", "Input tokens for each output token."),
    _follows("tokens_per_second", "Output tokens in a second of a call."),
    _seconds("duration_us", "Seconds of all calls together.", "duration"),
    _sum("with_duration", "Calls whose duration is known.", "requests_with_duration"),
    _follows("avg_duration", "Seconds a call."),
    _seconds("ttft_us", "Seconds to the first byte, of all calls together.", "ttft"),
    _sum("with_ttft", "Calls whose time to the first byte is known.", "requests_with_ttft"),
    _follows("avg_ttft", "Seconds to the first byte, a call."),
    Field(
        name="cost",
        of=lambda sums: None if sums.cost is None else plain(sums.cost),
        says="USD, of the calls that have a cost; null: none has.",
        schema=MONEY,
    ),
    _sum("priced", "Calls that have a cost.", "requests_priced"),
    _sum("unpriced", "Calls whose usage is known, and their cost is not.", "requests_unpriced"),
    _follows("unpriced_share", "Unpriced / (priced + unpriced)."),
)
"""What is told of any sum."""

_NAMES = tuple([field.name for field in FIELDS])
_ATTRIBUTES = attrgetter(*[field.of if isinstance(field.of, str) else "requests" for field in FIELDS])
_WORKED_OUT = tuple([(number, field.of) for number, field in enumerate(FIELDS) if not isinstance(field.of, str)])

QUANTILES = ("p50", "p95", "p99")
TIMES = tuple([f"{share}_{kind}" for kind in ("duration", "ttft") for share in QUANTILES])
"""What is told where sums are not grouped or filtered by user, key or outcome; else they are null."""
_NO_TIMES = (None,) * len(TIMES)


# -- JSON --


def head(page: str, scope: str, since: datetime | None, until: datetime | None, zone: ZoneInfo) -> dict[str, Any]:
    """Lay out what an answer begins with: what it is, of whose calls, of when."""
    return {
        "object": f"stats.{page}",
        "scope": scope,
        "from": moment(since, zone),
        "to": moment(until, zone),
        "timezone": zone.key,
    }


@lru_cache(maxsize=64)  # the order of the groups is the caller's choice
def _held(names: tuple[str, ...]) -> Callable[..., Any]:
    """Make what holds values by *names*, given in their order: it is made and written in half the time of a mapping."""
    return msgspec.defstruct("Row", names, gc=False)


def _figures(sums: Sums) -> list[Any]:
    """Give the values of `FIELDS`. Of a large answer this is most of the work."""
    figures = list(_ATTRIBUTES(sums))
    for number, of in _WORKED_OUT:
        figures[number] = of(sums)
    return figures


def usage_head(question: Question, scope: str) -> dict[str, Any]:
    """Lay out what sums begin with."""
    told = head("usage", scope, question.since, question.until, question.zone)
    return told | {"bucket": question.bucket, "group_by": question.group_by}


def top_head(top: Top, scope: str) -> dict[str, Any]:
    """Lay out what a top list begins with."""
    question = top.question
    told = head("top", scope, question.since, question.until, question.zone)
    return told | {"by": top.by, "group_by": question.group_by}


def peak_head(question: Question, scope: str) -> dict[str, Any]:
    """Lay out what the hours of the week begin with."""
    return head("peak_hours", scope, question.since, question.until, question.zone)


def with_nothing(rows: Sequence[Row], question: Question) -> Sequence[Row]:
    """Say that there were no calls, where one sum of all was asked for."""
    if rows or question.bucket is not None or question.group_by:
        return rows
    return [Row(bucket=None, group={}, sums=Sums())]


def of_rows(question: Question, *before: str) -> Callable[..., Any]:
    """Make what lays rows of an answer out: their bucket, their group, their figures; behind values named *before*."""
    bucketed = ("bucket",) if question.bucket is not None else ()
    held = _held((*before, *bucketed, *question.group_by, *_NAMES, *TIMES))
    moments = _moments(question.zone)

    def laid_out(row: Row, *values: Any) -> Any:
        begins = (moments(row.bucket),) if bucketed else ()
        group = [None if value == "" else value for value in row.group.values()]
        times = _NO_TIMES if row.duration is None and row.ttft is None else _times(row)
        return held(*values, *begins, *group, *_figures(row.sums), *times)

    return laid_out


def of_ranking(question: Question) -> Callable[[Ranked], Any]:
    """Make what lays those of a top list out."""
    laid_out = of_rows(question, "rank", "share")
    return lambda ranked: laid_out(ranked.row, ranked.rank, ranked.share)


def of_hour(hour: PeakHour) -> Any:
    """Lay an hour of the week out."""
    return _held(("weekday", "hour", *_NAMES))(hour.weekday, hour.hour, *_figures(hour.sums))


def of_call(record: UsageRecord, zone: ZoneInfo) -> dict[str, Any]:
    """Lay a call's record out, its time in *zone*."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    fields["at"] = record.at.astimezone(zone).isoformat(timespec="microseconds")
    for name in ("cost", "quota_cost"):
        amount = getattr(record, name)
        fields[name] = None if amount is None else plain(amount)
    return fields


def moment(at: datetime | None, zone: ZoneInfo) -> str | None:
    """Write a time in *zone*."""
    if at is None:
        return None
    return (at if at.tzinfo is zone else at.astimezone(zone)).isoformat()


def _moments(zone: ZoneInfo) -> Callable[[datetime | None], str | None]:
    """Make what writes times of rows, each once: the rows of a bucket, which follow one another, have it in common."""
    last, text = None, None

    def written(at: datetime | None) -> str | None:
        nonlocal last, text
        if at is not last:
            last, text = at, moment(at, zone)
        return text

    return written


def _times(row: Row) -> Sequence[float | None]:
    return (*_quantiles(row.duration), *_quantiles(row.ttft))


def _quantiles(quantiles: Quantiles | None) -> Sequence[float | None]:
    if quantiles is None:
        return (None, None, None)
    return (round(quantiles.p50, 6), round(quantiles.p95, 6), round(quantiles.p99, 6))


# -- CSV --

Cells = Callable[[Any], Sequence[Cell]]

_OUTCOME_COLUMNS = tuple([f"outcome_{outcome}" for outcome in OUTCOMES])
SUM_COLUMNS = tuple(
    [name for field in FIELDS for name in (_OUTCOME_COLUMNS if field.name == "outcomes" else (field.name,))]
)
HOUR_COLUMNS = ("weekday", "hour", *SUM_COLUMNS)
_OF_USAGE = (*USAGE_COLUMNS, "audio_seconds")
_LISTS = frozenset({"tags", "usage_faults", "quota_windows"})
CALL_COLUMNS = tuple(
    [
        name
        for field in UsageRecord.__struct_fields__
        for name in (_OF_USAGE if field == "usage" else (field,))
        if name != "usage_raw"
    ]
)
"""What a sheet has of a call: all but the provider's own words. Of the tries at upstreams it has the number."""


def columns(group_by: Sequence[Dimension] = (), *, bucketed: bool = False) -> tuple[str, ...]:
    """Name the columns of a sheet of rows."""
    return (*(("bucket",) if bucketed else ()), *group_by, *SUM_COLUMNS, *TIMES)


def top_columns(group_by: Sequence[Dimension]) -> tuple[str, ...]:
    """Name the columns of a sheet of a top list."""
    return ("rank", "share", *columns(group_by))


def cells(columns: Sequence[str]) -> Cells:
    """Make what takes the cells of *columns* out of a row that was laid out as JSON."""
    place = columns.index(_OUTCOME_COLUMNS[0])

    def taken(row: Any) -> Sequence[Cell]:
        values = msgspec.structs.astuple(row)
        outcomes = values[place]
        return [*values[:place], *[outcomes.get(name, 0) for name in OUTCOMES], *values[place + 1 :]]

    return taken


def call_cells(fields: Mapping[str, Any]) -> Sequence[Cell]:
    """Take the cells of a call out of what was laid out as JSON."""
    flat = {**fields, **fields["usage"], "attempts": len(fields["attempts"])}
    return [", ".join(flat[name]) if name in _LISTS else flat[name] for name in CALL_COLUMNS]
