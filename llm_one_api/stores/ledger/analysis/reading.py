"""What is read of each part of the time: sums and latencies, by slot and dimensions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple, get_args

from sqlalchemy import BigInteger, ColumnElement, Connection, Table, Text, case, cast, func, select

from llm_one_api.stores.ledger import sums
from llm_one_api.stores.ledger.analysis.latest import conditions
from llm_one_api.stores.ledger.analysis.plan import Part
from llm_one_api.stores.ledger.analysis.questions import Dimension, Question
from llm_one_api.stores.ledger.packing import unpack, unpack_hours
from llm_one_api.stores.ledger.rollup_tables import (
    DIMENSIONS,
    LATENCIES,
    LATENCY_DIMENSIONS,
    ROLLUP_COUNTS,
    ROLLUPS,
    TRAFFIC,
    TRAFFIC_DIMENSIONS,
    Level,
    latencies_day_hours,
    latencies_quarter,
    rollups_quarter,
)
from llm_one_api.stores.ledger.sums import HOUR, hour_of
from llm_one_api.stores.ledger.tables import records
from llm_one_api.values import Outcome

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
FIGURES = (*ROLLUP_COUNTS, "streams", *OUTCOMES)
"""What is added up, in the order in which it is read. By outcome: requests."""

_r = records.c
_PAGE = 2000
_days = latencies_day_hours


class Found(NamedTuple):
    """Sums of the calls of a slot that have the same values."""

    slot: datetime | None
    """None: of all slots of the part."""
    group: tuple[Any, ...]
    figures: Sequence[int]


class FoundTimes(NamedTuple):
    """How many calls of a slot that have the same values took how long."""

    slot: datetime | None
    group: tuple[Any, ...]
    kind: str
    calls: Mapping[int, int]
    """By bucket."""


def tells_times(question: Question) -> bool:
    """Tell whether latencies are kept by all that calls are told apart by."""
    return question.key is None and {*question.group_by, *question.where} <= {*LATENCY_DIMENSIONS}


def tells_hours_of_days(question: Question) -> bool:
    """Tell whether closed days tell its hours too: they do by model alone."""
    return {*question.group_by, *question.where} <= {"model"}


def tells_callers(question: Question) -> bool:
    """Tell whether who called matters."""
    return question.key is not None or not {*question.group_by, *question.where} <= {*TRAFFIC_DIMENSIONS}


def read(connection: Connection, question: Question, part: Part, told: Collection[str] = FIGURES) -> Iterable[Found]:
    """Give the sums of a part that is read from sums; all figures but those *told* are known to be 0."""
    table = (ROLLUPS if tells_callers(question) else TRAFFIC)[_level_of(part)]
    names = [name for name in FIGURES if name in told]
    all_columns = dict(zip(FIGURES, _added_up(table), strict=True))
    asked = _asked(table, question, part, [all_columns[name] for name in names])
    size = len(question.group_by)
    # Where a figure was not asked for, its place is behind the last one, where a 0 stands.
    widen = itemgetter(*[names.index(name) if name in told else len(names) for name in FIGURES])
    if part.by_slot:
        return (Found(row[0], row[1 : size + 1], widen((*row[size + 1 :], 0))) for row in connection.execute(asked))
    rows = connection.execute(asked)
    return (Found(None, row[:size], widen((*row[size:], 0))) for row in rows if row[size] is not None)


def read_times(connection: Connection, question: Question, part: Part) -> Iterable[FoundTimes]:
    """Give the latencies of such a part."""
    if part.days:
        return _hours_of_days(connection, question, part)
    table = LATENCIES[_level_of(part)]
    size = len(question.group_by)
    if part.level in {"day", "month"}:
        asked = _asked(table, question, part, [table.c.kind, table.c.calls], added_up=False)
    else:
        by = (table.c.kind, table.c.bucket)
        *of, bucket, calls = _asked(table, question, part, [*by, _sum(table.c.calls)], by).subquery().c
        asked = select(*of, _packed(connection, bucket, calls)).group_by(*of)
    found = ((*row[:-1], unpack(row[-1])) for row in connection.execute(asked))
    if part.by_slot:
        return (FoundTimes(row[0], row[1 : size + 1], *row[size + 1 :]) for row in found)
    return (FoundTimes(None, row[:size], *row[size:]) for row in found)


def _level_of(part: Part) -> Level:
    if part.level == "records":
        raise ValueError("calls are no sums: `read_calls` reads them")
    return part.level


def _packed(connection: Connection, bucket: ColumnElement[int], calls: ColumnElement[int]) -> ColumnElement[str]:
    """Have buckets put together as cells of days have them: to fetch a row each takes three times as long."""
    if connection.dialect.name == "postgresql":
        return cast(func.json_object_agg(bucket, calls), Text)
    return func.json_group_object(bucket, calls)


def _hours_of_days(connection: Connection, question: Question, part: Part) -> Iterator[FoundTimes]:
    only = None if part.only is None else {*part.only}
    columns = [_days.c[name] for name in ("slot", *question.group_by, "kind", "hours")]
    asked = select(*columns).where(_days.c.slot.in_(part.days), *conditions_of(_days, question))
    for day, *group, kind, cell in connection.execute(asked):
        at = hour_of(day)
        for number, calls in unpack_hours(cell).items():
            slot = at + number * HOUR
            if part.since <= slot < part.until and (only is None or slot in only):
                yield FoundTimes(slot if part.by_slot else None, tuple(group), kind, calls)


def _asked(
    table: Table,
    question: Question,
    part: Part,
    columns: Iterable[Any],
    by: Sequence[ColumnElement[Any]] = (),
    *,
    added_up: bool = True,
) -> Any:
    """Select *columns* by what is asked for, and *by*; as they are, or *added_up*."""
    slot = table.c.slot
    first = [*([slot] if part.by_slot else []), *(table.c[name] for name in question.group_by)]
    asked = select(*first, *columns).where(*slots_of(table, part), *conditions_of(table, question))
    together = [*([slot] if part.by_slot else []), *_in_order(table, question), *by]
    return asked.group_by(*together) if added_up and together else asked


def slots_of(table: Table, part: Part) -> Iterator[ColumnElement[bool]]:
    """Give the conditions that the slots of a part meet."""
    slot = table.c.slot
    if part.only is None:
        yield from (slot >= part.since, slot < part.until)
    else:  # and no more, so that SQLite looks for each
        yield slot.in_(part.only)


def _in_order(table: Table, question: Question) -> Iterator[ColumnElement[Any]]:
    """Group as the table's key is laid out, so that SQLite need not sort.

    A key is one user's, so both together have no more rows than the key alone.
    """
    wanted = {*question.group_by}
    if wanted & {"user", "key"}:
        wanted |= {"user", "key"}
    return (column for column in table.primary_key.columns if column.name in wanted)


def conditions_of(table: Table, question: Question) -> Iterator[ColumnElement[bool]]:
    """Give the conditions that the sums meet that are asked for."""
    for name, values in question.where.items():
        if name == "stream":
            yield table.c.stream.in_(sorted({value == "true" for value in values}))
        else:
            yield table.c[name].in_(values)
    if question.key is not None:
        yield table.c.key == question.key


def _sum(what: Any) -> ColumnElement[int]:
    # PostgreSQL adds whole numbers up as decimals, and a decimal is dear to read.
    return cast(func.sum(what), BigInteger)


@cache  # to build it costs more than most answers
def _added_up(table: Table) -> tuple[ColumnElement[int], ...]:
    requests = table.c.requests
    return (
        *[_sum(table.c[name]) for name in ROLLUP_COUNTS],
        _sum(case((table.c.stream, requests), else_=0)),
        *[_sum(case((table.c.outcome == outcome, requests), else_=0)) for outcome in OUTCOMES],
    )


def read_calls(connection: Connection, question: Question, part: Part) -> tuple[list[Found], list[FoundTimes]]:
    """Add the calls of a part up that is read from records, as ingest does: their sums, and their times."""
    found = sums.Sums()
    asked = select(*[_r[name] for name in sums.COLUMNS]).where(*called(question, part))
    with connection.execute(asked, execution_options={"yield_per": _PAGE}) as rows:
        for row in rows.mappings():
            found.add(row)
    tables = dict(found.tables())
    fits, group = _fitting(question, DIMENSIONS), _grouping(question, DIMENSIONS)
    stream, outcome = DIMENSIONS.index("stream"), DIMENSIONS.index("outcome")
    summed = [
        Found(None, group(key), _figures(key[stream], key[outcome], counts))
        for (_, *key), counts in tables[rollups_quarter].items()
        if fits(key)
    ]
    if not tells_times(question):
        return summed, []
    fits, group = _fitting(question, LATENCY_DIMENSIONS), _grouping(question, LATENCY_DIMENSIONS)
    times = [
        FoundTimes(None, group(key), key[-2], {key[-1]: calls})
        for (_, *key), [calls] in tables[latencies_quarter].items()
        if fits(key)
    ]
    return summed, times


def called(question: Question, part: Part) -> Iterator[ColumnElement[bool]]:
    """Give the conditions that the calls of a part meet."""
    yield from (_r.at >= part.since, _r.at < part.until, *conditions(question.where))
    if question.key is not None:
        yield _r.key == question.key


def _figures(stream: bool, outcome: str, counts: list[int]) -> list[int]:
    requests = counts[0]
    return [*counts, requests if stream else 0, *[requests if outcome == each else 0 for each in OUTCOMES]]


def _fitting(question: Question, names: Sequence[str]) -> Callable[[Sequence[Any]], bool]:
    """Make what tells whether a key's values are asked for."""
    wanted: list[tuple[int, set[Any]]] = []
    for name, values in question.where.items():
        wanted.append((names.index(name), {value == "true" for value in values} if name == "stream" else {*values}))
    if question.key is not None:
        wanted.append((names.index("key"), {question.key}))
    return lambda key: all(key[number] in values for number, values in wanted)


def _grouping(question: Question, names: Sequence[str]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    places = [names.index(name) for name in question.group_by]
    return lambda key: tuple(key[place] for place in places)


def group_of(names: Sequence[Dimension], values: Sequence[Any]) -> dict[Dimension, str | bool]:
    """Name the values of a group."""
    return dict(zip(names, values, strict=True))
