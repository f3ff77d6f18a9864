"""Times of days and months: a row has all buckets of its calls, as JSON, so that a year is read in a moment.

Those of days stand a second time by hours, by model alone, for pages that show a month hour by hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Dialect, Table, bindparam, insert, select

from llm_one_api.stores.ledger.bulk import Putting
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
    if packed:
        rows = [dict(zip(_KEYS, key, strict=True)) | {"calls": _pack(spread)} for key, spread in packed.items()]
        connection.execute(insert(table), rows)


def write_hours(connection: Connection, packed: Mapping[Key, Hours]) -> None:
    """Put rows in that are not there, by hours."""
    if packed:
        rows = [dict(zip(_HOUR_KEYS, key, strict=True)) | {"hours": _pack_hours(of)} for key, of in packed.items()]
        connection.execute(insert(latencies_day_hours), rows)


class Adding:
    """Adds to the rows of a day or a month, of which it reads and writes those alone that have something to add."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        """Make the statements."""
        self._put = Putting(table, dialect)
        self._asked = _of_models(table, _KEYS, "calls")

    def __call__(self, connection: Connection, rows: Rows, slot: datetime) -> None:
        """Add rows of a bucket each to those of *slot*."""
        packed = whole(rows, slot)
        for *key, cell in connection.execute(self._asked, _models(packed, slot, _KEYS)):
            if (mine := packed.get((slot, *key))) is not None:
                _add(mine, _spread(cell))
        self._put(connection, [(*key, _pack(spread)) for key, spread in packed.items()])


class AddingByHours:
    """The same, for the rows of a day by hours."""

    def __init__(self, dialect: Dialect) -> None:
        """Make the statements."""
        self._put = Putting(latencies_day_hours, dialect)
        self._asked = _of_models(latencies_day_hours, _HOUR_KEYS, "hours")

    def __call__(self, connection: Connection, rows: Rows, slot: datetime) -> None:
        """Add rows of a bucket each to those of the day *slot*."""
        packed = by_hours(rows, slot)
        for *key, cell in connection.execute(self._asked, _models(packed, slot, _HOUR_KEYS)):
            if (mine := packed.get((slot, *key))) is not None:
                for number, spread in _hours(cell).items():
                    _add(mine.setdefault(number, {}), spread)
        self._put(connection, [(*key, _pack_hours(hours)) for key, hours in packed.items()])


def _of_models(table: Table, keys: Sequence[str], cell: str) -> Any:
    """Read the rows of a slot that are of some models: the first of the key that there are many of."""
    c, slot = table.c, bindparam("at", type_=table.c.slot.type)
    asked = select(*[c[name] for name in keys if name != "slot"], c[cell])
    return asked.where(c.slot == slot, c.model.in_(bindparam("models", expanding=True)))


def _models(packed: Iterable[Key], slot: datetime, keys: Sequence[str]) -> dict[str, Any]:
    place = keys.index("model")
    return {"at": slot, "models": sorted({key[place] for key in packed})}


def _add(into: Spread, spread: Mapping[int, int]) -> None:
    for bucket, calls in spread.items():
        into[bucket] = into.get(bucket, 0) + calls


def _pack(spread: Spread) -> str:
    return _encode(dict(sorted(spread.items()))).decode()


def _pack_hours(hours: Hours) -> str:
    return _encode({number: dict(sorted(hours[number].items())) for number in sorted(hours)}).decode()
