"""Times of days and months: a row has all buckets of its calls, as JSON, so that a year is read in a moment.

That of a day has them a second time by hours, for pages that show a month hour by hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select

from llm_one_api.stores.ledger.rollup_tables import LATENCY_DIMENSIONS, latencies_day
from llm_one_api.stores.ledger.sums import HOUR, Rows, hour_of

Key = tuple[Any, ...]
"""Of a row: slot, dimensions, kind."""
Spread = dict[int, int]
"""How many calls by bucket."""
Hours = dict[int, Spread]
"""The same by hours, counted from the one that the day begins in."""

_KEYS = ("slot", *LATENCY_DIMENSIONS, "kind")
_d = latencies_day.c
_spread, _hours = msgspec.json.Decoder(Spread).decode, msgspec.json.Decoder(Hours).decode
_encode = msgspec.json.Encoder().encode


def unpack(cell: str) -> Spread:
    """Read what a cell of a day or a month says."""
    return _spread(cell)


def unpack_hours(cell: str) -> Hours:
    """Read what a cell of a day says by hours."""
    return _hours(cell)


def together(rows: Iterable[tuple[Sequence[Any], Mapping[int, int]]], slot: datetime) -> dict[Key, Spread]:
    """Add up rows that differ in their slot alone, as those of *slot*."""
    found: dict[Key, Spread] = {}
    for (_, *key), spread in rows:
        _add(found.setdefault((slot, *key), {}), spread)
    return found


def by_hours(rows: Iterable[Sequence[Any]], slot: datetime) -> dict[Key, Hours]:
    """Put rows of hours or quarters (slot, dimensions, kind, bucket, calls) together, as those of the day *slot*."""
    found: dict[Key, Hours] = {}
    base, numbers = hour_of(slot), dict[datetime, int]()
    for at, *key, bucket, calls in rows:
        number = numbers.get(at)
        if number is None:
            number = numbers[at] = (at - base) // HOUR
        spread = found.setdefault((slot, *key), {}).setdefault(number, {})
        spread[bucket] = spread.get(bucket, 0) + int(calls)
    return found


def apart(packed: Mapping[Key, Spread]) -> Rows:
    """Give a row for each bucket."""
    return {(*key, bucket): [calls] for key, spread in packed.items() for bucket, calls in spread.items()}


def hours_apart(packed: Mapping[Key, Hours]) -> Rows:
    """Give a row for each hour and bucket, as tables of hours have them."""
    return {
        (hour_of(slot) + number * HOUR, *key, bucket): [calls]
        for (slot, *key), hours in packed.items()
        for number, spread in hours.items()
        for bucket, calls in spread.items()
    }


def read(connection: Connection, table: Table, since: datetime, until: datetime) -> list[tuple[Key, Spread]]:
    """Give the rows of the slots from *since* until before *until*."""
    keys = [table.c[name] for name in _KEYS]
    asked = select(*keys, table.c.calls).where(table.c.slot >= since, table.c.slot < until)
    return [(tuple(row[:-1]), _spread(row[-1])) for row in connection.execute(asked)]


def read_hours(connection: Connection, slot: datetime) -> dict[Key, Hours]:
    """Give the rows of the day *slot* by hours."""
    asked = select(*[_d[name] for name in _KEYS], _d.hours).where(_d.slot == slot)
    return {tuple(row[:-1]): _hours(row[-1]) for row in connection.execute(asked)}


def write(connection: Connection, table: Table, packed: Mapping[Key, Spread]) -> None:
    """Put rows of a month in, which are not there."""
    if packed:
        connection.execute(insert(table), [_named(key) | {"calls": _json(spread)} for key, spread in packed.items()])


def write_hours(connection: Connection, packed: Mapping[Key, Hours]) -> None:
    """Put rows of a day in, which are not there."""
    rows = []
    for key, hours in packed.items():
        whole: Spread = {}
        for spread in hours.values():
            _add(whole, spread)
        ordered = {number: dict(sorted(spread.items())) for number, spread in sorted(hours.items())}
        rows.append(_named(key) | {"calls": _json(whole), "hours": _encode(ordered).decode()})
    if rows:
        connection.execute(insert(latencies_day), rows)


def add(connection: Connection, table: Table, rows: Rows, slot: datetime) -> None:
    """Add rows of quarters, a bucket each, to those of the month *slot*."""
    if rows:
        more = [(key[:-1], {key[-1]: calls}) for key, [calls] in rows.items()]
        there = read(connection, table, slot, slot + timedelta(microseconds=1))
        connection.execute(delete(table).where(table.c.slot == slot))
        write(connection, table, together([*there, *more], slot))


def add_hours(connection: Connection, rows: Rows, slot: datetime) -> None:
    """Add rows of quarters, a bucket each, to those of the day *slot*."""
    if rows:
        there = read_hours(connection, slot)
        for key, hours in by_hours([(*key, calls) for key, [calls] in rows.items()], slot).items():
            into = there.setdefault(key, {})
            for number, spread in hours.items():
                _add(into.setdefault(number, {}), spread)
        connection.execute(delete(latencies_day).where(_d.slot == slot))
        write_hours(connection, there)


def _add(into: Spread, spread: Mapping[int, int]) -> None:
    for bucket, calls in spread.items():
        into[bucket] = into.get(bucket, 0) + calls


def _named(key: Key) -> dict[str, Any]:
    return dict(zip(_KEYS, key, strict=True))


def _json(spread: Spread) -> str:
    return _encode(dict(sorted(spread.items()))).decode()
