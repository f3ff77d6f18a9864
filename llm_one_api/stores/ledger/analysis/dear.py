"""What is too much to read for an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from sqlalchemy import Connection, Table, func, select

from llm_one_api.stores.ledger.analysis.plan import Part
from llm_one_api.stores.ledger.analysis.questions import Question
from llm_one_api.stores.ledger.analysis.reading import called, conditions_of, slots_of, tells_callers
from llm_one_api.stores.ledger.rollup_tables import LATENCIES, ROLLUPS, TRAFFIC, Level
from llm_one_api.stores.ledger.sums import HOUR, QUARTER
from llm_one_api.stores.ledger.tables import records

MOST_ROWS = 150_000
"""Sums that are read for an answer slot by slot, beyond the last two days: some 400 ms."""
MOST_TIMES = 75_000
"""The same of how long calls took, of which each bucket is a row: another 140 ms."""
MOST_RECORDS = 50_000
"""Calls that are read one by one at the ends of an answer's time: some 800 ms, most of it Python's."""
_SHORT = timedelta(hours=50)


def is_dear(connection: Connection, question: Question, parts: Iterable[Part]) -> bool:
    """Tell whether more sums would have to be read than somebody waits for."""
    tables = ROLLUPS if tells_callers(question) else TRAFFIC
    return not _names_callers(question) and _is_dear(connection, question, parts, tables, MOST_ROWS)


def times_are_dear(connection: Connection, question: Question, parts: Iterable[Part]) -> bool:
    """Tell the same of how long calls took."""
    return _is_dear(connection, question, parts, LATENCIES, MOST_TIMES)


def ends_are_dear(connection: Connection, question: Question, parts: Iterable[Part]) -> bool:
    """Tell whether too many calls lie at the ends, outside of whole quarters of an hour."""
    calls = 0
    for part in parts:
        if part.level == "records":
            some = select(records.c.seq).where(*called(question, part)).limit(MOST_RECORDS + 1 - calls)
            calls += connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()
    return calls > MOST_RECORDS


def _names_callers(question: Question) -> bool:
    """Tell whether only sums of a few callers are read: what is passed over costs little."""
    return question.key is not None or bool({"user", "key"} & {*question.where})


def _is_dear(
    connection: Connection, question: Question, parts: Iterable[Part], tables: Mapping[Level, Table], most: int
) -> bool:
    fine = _fine(parts)
    if are_few(fine):
        return False
    rows = 0
    for part in fine:
        table = tables["hour" if part.level == "hour" else "quarter"]
        asked = select(table.c.slot).where(*slots_of(table, part), *conditions_of(table, question))
        some = asked.limit(most + 1 - rows)
        rows += connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()
        if rows > most:
            return True
    return False


def _fine(parts: Iterable[Part]) -> list[Part]:
    return [part for part in parts if part.level in {"hour", "quarter"} and not part.days]


def are_few(parts: Iterable[Part]) -> bool:
    """Tell whether hardly more is read slot by slot than days that are not closed yet."""
    return sum(map(_length, _fine(parts)), timedelta()) <= _SHORT


def _length(part: Part) -> timedelta:
    if part.only is None:
        return part.until - part.since
    return len(part.only) * (HOUR if part.level == "hour" else QUARTER)
