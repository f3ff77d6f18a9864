"""Times of days and months: a row has all buckets of its calls, as JSON, so that a year is read in a moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select

from llm_one_api.stores.ledger.rollup_tables import LATENCY_DIMENSIONS
from llm_one_api.stores.ledger.sums import Rows

Spread = dict[int, int]
"""How many calls by bucket."""
Packed = dict[tuple[Any, ...], Spread]
"""By the key of a row: slot, dimensions, kind."""

_KEYS = ("slot", *LATENCY_DIMENSIONS, "kind")
_decode = msgspec.json.Decoder(Spread).decode
_encode = msgspec.json.Encoder().encode


def unpack(calls: str) -> Spread:
    """Read what a cell says."""
    return _decode(calls)


def pack(rows: Rows, slot: datetime) -> Packed:
    """Put rows of a bucket each together, as those of *slot*."""
    packed: Packed = {}
    for (_, *key, bucket), [calls] in rows.items():
        spread = packed.setdefault((slot, *key), {})
        spread[bucket] = spread.get(bucket, 0) + calls
    return packed


def together(packed: Iterable[tuple[Sequence[Any], Mapping[int, int]]], slot: datetime) -> Packed:
    """Add up rows that differ in their slot alone, as those of *slot*."""
    found: Packed = {}
    for (_, *key), spread in packed:
        into = found.setdefault((slot, *key), {})
        for bucket, calls in spread.items():
            into[bucket] = into.get(bucket, 0) + calls
    return found


def apart(packed: Packed) -> Rows:
    """Give a row for each bucket."""
    return {(*key, bucket): [calls] for key, spread in packed.items() for bucket, calls in spread.items()}


def read(
    connection: Connection, table: Table, since: datetime, until: datetime
) -> list[tuple[tuple[Any, ...], Spread]]:
    """Give the rows of the slots from *since* until before *until*."""
    asked = select(table).where(table.c.slot >= since, table.c.slot < until)
    return [(tuple(row[:-1]), _decode(row[-1])) for row in connection.execute(asked)]


def write(connection: Connection, table: Table, packed: Packed) -> None:
    """Put rows in that are not there."""
    if packed:
        rows = [
            dict(zip(_KEYS, key, strict=True), calls=_encode(dict(sorted(spread.items()))).decode())
            for key, spread in packed.items()
        ]
        connection.execute(insert(table), rows)


def add(connection: Connection, table: Table, packed: Packed, slot: datetime) -> None:
    """Add to the rows of *slot*, making those that are not there."""
    if not packed:
        return
    there = read(connection, table, slot, slot.replace(microsecond=slot.microsecond + 1))
    connection.execute(delete(table).where(table.c.slot == slot))
    write(connection, table, together([*there, *packed.items()], slot))
