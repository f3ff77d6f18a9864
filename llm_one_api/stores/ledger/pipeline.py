"""How the ledger's end of the records' way fares: what was set aside, and how far each consumer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, Engine, func, literal_column, select

from llm_one_api.stores.ledger.engine import one_moment
from llm_one_api.stores.ledger.tables import cursors, dead_letters, ledger_seq, refused_records
from llm_one_api.values import Value

MOST_KINDS = 50


class SetAside(Value, frozen=True, kw_only=True):
    """How much lies where somebody has to look at it."""

    dead_letters: int
    refused_records: int


class Consumer(Value, frozen=True, kw_only=True):
    """How far one plugin is."""

    name: str
    place: int
    """The last record that it was given."""
    behind: int
    """Records that it has not been given yet."""
    failures: int
    """How often delivery failed since it last got on."""
    error: str | None
    dead_letters: int


class LedgerEnd(Value, frozen=True, kw_only=True):
    """All of it."""

    last_seq: int
    refused_records: Mapping[str, int]
    """By the kind of reason."""
    consumers: Sequence[Consumer]


class Pipeline:
    """Reads it."""

    def __init__(self, reading: Engine) -> None:
        """Read over *reading*, an engine for transactions that write nothing."""
        self._reading = reading

    def set_aside(self) -> SetAside:
        """Count what was set aside: a cheap question, for it is asked every few seconds."""
        with self._reading.connect() as connection:
            return SetAside(
                dead_letters=connection.execute(select(func.count()).select_from(dead_letters)).scalar_one(),
                refused_records=connection.execute(select(func.count()).select_from(refused_records)).scalar_one(),
            )

    def whole(self) -> LedgerEnd:
        """Read all of it, in one view of the ledger."""
        with one_moment(self._reading) as connection:
            last = int(connection.execute(select(ledger_seq.c.n)).scalar_one())
            return LedgerEnd(
                last_seq=last, refused_records=self._refused(connection), consumers=_consumers(connection, last)
            )

    def _refused(self, connection: Connection) -> dict[str, int]:
        """Count the refused records by what stands before the first colon of the reason."""
        reason = refused_records.c.reason
        colon: ColumnElement[str] = literal_column("':'")
        if self._reading.dialect.name == "postgresql":
            kind = func.split_part(reason, colon, 1)
        else:
            kind = func.substr(reason, 1, func.instr(reason.concat(colon), colon) - 1)
        asked = select(kind, func.count()).group_by(kind).order_by(func.count().desc()).limit(MOST_KINDS)
        return {row[0]: row[1] for row in connection.execute(asked)}


def _consumers(connection: Connection, last: int) -> list[Consumer]:
    c, d = cursors.c, dead_letters.c
    letters = {row[0]: row[1] for row in connection.execute(select(d.consumer, func.count()).group_by(d.consumer))}
    rows = connection.execute(select(c.consumer, c.seq, c.failures, c.error).order_by(c.consumer)).all()
    return [
        Consumer(
            name=row.consumer,
            place=row.seq,
            behind=max(0, last - row.seq),
            failures=row.failures,
            error=row.error,
            dead_letters=letters.get(row.consumer, 0),
        )
        for row in rows
    ]
