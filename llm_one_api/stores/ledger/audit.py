"""What an audit asks of the ledger: page by page, so that neither its memory nor its transactions grow with the ledger.

A record never changes its place nor its figures (but for its cost), so what is compared up to a place stays comparable
while others come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, case, func, select

from llm_one_api.stores.ledger.engine import reading
from llm_one_api.stores.ledger.ingesting import TOO_OLD
from llm_one_api.stores.ledger.rollup_tables import rollups_hour
from llm_one_api.stores.ledger.rows import NUL, REPLACEMENT
from llm_one_api.stores.ledger.tables import dead_letters, ledger_seq, records, refused_records
from llm_one_api.values import Value

_r = records.c
_IDS = 500
_PAGE = 5000


class Numbers(Value, frozen=True, kw_only=True):
    """How many records there ought to be, and how many there are: of one moment."""

    given: int
    """The last `seq` given."""
    deleted: int
    """How many records retention has deleted."""
    deleted_before: datetime | None
    records: int
    highest: int
    """The highest `seq` that is there."""


class Gap(Value, frozen=True, kw_only=True):
    """Numbers that no record has, from *first* to *last*."""

    first: int
    last: int


class SetAside(Value, frozen=True, kw_only=True):
    """Records that were refused, by the ledger or by a consumer."""

    by: str
    calls: int
    newest: tuple[str, ...]
    """The ids of some of them, the last ones first."""


class AuditReads:
    """Reads on one engine."""

    def __init__(self, engine: Engine) -> None:
        """Keep it."""
        self._reading = reading(engine)

    def exists(self) -> bool:
        """Tell whether there is a database; SQLite makes one of whatever name it is asked for."""
        url = self._reading.url
        return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()

    def numbers(self) -> Numbers:
        """Count the records; one statement, so that a running ingest is in all of it or in none."""
        asked = select(
            ledger_seq.c.n.label("given"),
            ledger_seq.c.deleted,
            ledger_seq.c.deleted_before,
            select(func.count()).select_from(records).scalar_subquery().label("records"),
            select(func.coalesce(func.max(_r.seq), 0)).scalar_subquery().label("highest"),
        )
        with self._reading.connect() as connection:
            return Numbers(**connection.execute(asked).mappings().one())

    def deleted_before(self) -> datetime | None:
        """Tell up to when records may have been deleted; None: none were."""
        with self._reading.connect() as connection:
            noted: datetime | None = connection.execute(select(ledger_seq.c.deleted_before)).scalar_one()
        return noted

    def gaps(self, upto: int) -> Iterator[Gap]:
        """Find the numbers up to *upto* that no record has."""
        last = 0
        while last < upto:
            asked = select(_r.seq).where(_r.seq > last, _r.seq <= upto).order_by(_r.seq).limit(_PAGE)
            with self._reading.connect() as connection:
                page = connection.execute(asked).scalars().all()
            for seq in page:
                if seq > last + 1:
                    yield Gap(first=last + 1, last=seq - 1)
                last = seq
            if len(page) < _PAGE:
                break
        if last < upto:
            yield Gap(first=last + 1, last=upto)

    def count(self, since: datetime, until: datetime) -> tuple[int, int]:
        """Count the records admitted from *since* until before *until*, and the sums by hours."""
        calls = select(func.count()).where(_r.at >= since, _r.at < until)
        slot = rollups_hour.c.slot
        sums = select(func.count()).where(slot >= since, slot < until)
        with self._reading.connect() as connection:
            return int(connection.execute(calls).scalar_one()), int(connection.execute(sums).scalar_one())

    def count_places(self, after: int, upto: int) -> int:
        """Count the records whose place is after *after*, up to *upto*."""
        asked = select(func.count()).where(_r.seq > after, _r.seq <= upto)
        with self._reading.connect() as connection:
            return int(connection.execute(asked).scalar_one())

    def figures(self, after: int, upto: int, consumer: str) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Give what is added up of the records after *after*, up to *upto*, without the dead letters of *consumer*."""
        dead = select(dead_letters.c.seq).where(dead_letters.c.consumer == consumer)
        asked = select(
            _r.seq, _r.key, _r.model, _r.prompt_tokens, _r.completion_tokens, _r.total_tokens, _r.duration
        ).where(_r.seq.not_in(dead))
        while after < upto:
            page = asked.where(_r.seq > after, _r.seq <= upto).order_by(_r.seq).limit(_PAGE)
            with self._reading.connect() as connection:
                rows = [dict(row) for row in connection.execute(page).mappings()]
            if rows:
                yield rows
            if len(rows) < _PAGE:
                return
            after = rows[-1]["seq"]

    def known(self, ids: Iterable[str]) -> set[str]:
        """Tell which of *ids* are accounted for: a record, or one that was refused."""
        by_row = {name.replace(NUL, REPLACEMENT): name for name in ids}
        missing = set(by_row)
        with self._reading.connect() as connection:
            for table in (records, refused_records):
                rest = sorted(missing)
                for start in range(0, len(rest), _IDS):
                    asked = select(table.c.request_id).where(table.c.request_id.in_(rest[start : start + _IDS]))
                    missing -= set(connection.execute(asked).scalars())
            if missing:
                missing -= set(self._within_lines(connection, missing))
        return {name for row, name in by_row.items() if row not in missing}

    @staticmethod
    def _within_lines(connection: Connection, ids: Iterable[str]) -> Iterator[str]:
        """Look for *ids* in the lines that could not be read as records, and so stand there by a digest."""
        lines = refused_records.c.request_id.like("line:%")
        if connection.execute(select(refused_records.c.id).where(lines).limit(1)).scalar() is None:
            return
        for one in ids:
            asked = select(refused_records.c.id).where(lines, refused_records.c.line.contains(one, autoescape=True))
            if connection.execute(asked.limit(1)).scalar() is not None:
                yield one

    def refused(self, most: int) -> list[SetAside]:
        """Tell which records could not be kept, too old ones apart from others; up to *most* ids of each."""
        is_too_old = refused_records.c.reason.startswith(TOO_OLD)
        return self._set_aside(refused_records, case((is_too_old, TOO_OLD), else_="refused"), most)

    def dead(self, most: int) -> list[SetAside]:
        """Tell which records are dead letters, by consumer; up to *most* ids of each."""
        return self._set_aside(dead_letters, dead_letters.c.consumer, most)

    def _set_aside(self, table: Any, by: Any, most: int) -> list[SetAside]:
        found = []
        with self._reading.begin() as connection:
            # By its label: PostgreSQL takes an expression with parameters for another each time it stands there.
            groups = select(by.label("by_whom"), func.count()).group_by("by_whom").order_by("by_whom")
            for name, calls in connection.execute(groups).all():
                newest = select(table.c.request_id).where(by == name).order_by(table.c.id.desc()).limit(most)
                ids = tuple(connection.execute(newest).scalars())
                found.append(SetAside(by=name, calls=calls, newest=ids))
        return found
