"""Times of days and months: a row has all buckets of its calls, as JSON, so that a year is read in a moment.

Those of days stand a second time by hours, by model alone, for pages that show a month hour by hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select

from llm_one_api.stores.ledger.rollup_tables import LATENCY_DIMENSIONS, latencies_day_hours
from llm_one_api.stores.ledger.sums import HOUR, Rows, hour_of

Key = tuple[Any, ...]
"""Of a row: slot, dimensions, kind; by hours: slot, model, kind."""
Spread = dict[int, int]
"""How many calls by bucket."""
Hours = dict[int, Spread]
"""The same by hours, counted from the one that the day begins in."""

LAID_OUT, LAID_OUT_BY_HOURS = ("slot", *LATENCY_DIMENSIONS, "kind", "bucket"), ("slot", "model", "kind", "bucket")
"""What rows of a bucket each are told apart by."""
_KEYS, _HOUR_KEYS = LAID_OUT[:-1], LAID_OUT_BY_HOURS[:-1]
_MODEL = LATENCY_DIMENSIONS.index("model")
_h = latencies_day_hours.c
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


def whole(rows: Rows, slot: datetime) -> dict[Key, Spread]:
    """Put rows of a bucket each together, as those of *slot*."""
    return together(((key[:-1], {key[-1]: calls}) for key, [calls] in rows.items()), slot)


def by_hours(rows: Rows, slot: datetime) -> dict[Key, Hours]:
    """Put rows of a bucket each together by model and hour, as those of the day *slot*."""
    found: dict[Key, Hours] = {}
    base, numbers = hour_of(slot), dict[datetime, int]()
    for (at, *dimensions, kind, bucket), [calls] in rows.items():
        number = numbers.get(at)
        if number is None:
            number = numbers[at] = (at - base) // HOUR
        spread = found.setdefault((slot, dimensions[_MODEL], kind), {}).setdefault(number, {})
        spread[bucket] = spread.get(bucket, 0) + calls
    return found


def apart(packed: Mapping[Key, Spread]) -> Rows:
    """Give a row for each bucket."""
    return {(*key, bucket): [calls] for key, spread in packed.items() for bucket, calls in spread.items()}


def hours_apart(packed: Mapping[Key, Hours]) -> Rows:
    """Give a row for each hour and bucket."""
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
    asked = select(*[_h[name] for name in _HOUR_KEYS], _h.hours).where(_h.slot == slot)
    return {tuple(row[:-1]): _hours(row[-1]) for row in connection.execute(asked)}


def write(connection: Connection, table: Table, packed: Mapping[Key, Spread]) -> None:
    """Put rows in that are not there."""
    rows = [_named(_KEYS, key, calls=dict(sorted(spread.items()))) for key, spread in packed.items()]
    if rows:
        connection.execute(insert(table), rows)


def write_hours(connection: Connection, packed: Mapping[Key, Hours]) -> None:
    """Put rows in that are not there, by hours."""
    rows = [
        _named(_HOUR_KEYS, key, hours={number: dict(sorted(hours[number].items())) for number in sorted(hours)})
        for key, hours in packed.items()
    ]
    if rows:
        connection.execute(insert(latencies_day_hours), rows)


def add(connection: Connection, table: Table, rows: Rows, slot: datetime) -> None:
    """Add rows of a bucket each to those of *slot*."""
    there = read(connection, table, slot, slot + timedelta(microseconds=1))
    connection.execute(delete(table).where(table.c.slot == slot))
    write(connection, table, together([*there, *whole(rows, slot).items()], slot))


def add_hours(connection: Connection, rows: Rows, slot: datetime) -> None:
    """Add rows of a bucket each to those of the day *slot* by hours."""
    there = read_hours(connection, slot)
    for key, hours in by_hours(rows, slot).items():
        into = there.setdefault(key, {})
        for number, spread in hours.items():
            _add(into.setdefault(number, {}), spread)
    connection.execute(delete(latencies_day_hours).where(_h.slot == slot))
    write_hours(connection, there)


def _add(into: Spread, spread: Mapping[int, int]) -> None:
    for bucket, calls in spread.items():
        into[bucket] = into.get(bucket, 0) + calls


def _named(names: Sequence[str], key: Key, **cells: Any) -> dict[str, Any]:
    return dict(zip(names, key, strict=True)) | {name: _encode(cell).decode() for name, cell in cells.items()}
