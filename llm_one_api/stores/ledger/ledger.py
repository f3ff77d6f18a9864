"""The ledger: every finished call, once, in the order it was kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError, StatementError

from llm_one_api.stores.ledger import summary as sums
from llm_one_api.stores.ledger.cursors import Cursors
from llm_one_api.stores.ledger.engine import make_engine, reading
from llm_one_api.stores.ledger.prices import Prices
from llm_one_api.stores.ledger.rows import NUL, REPLACEMENT, Kept, to_record, to_row
from llm_one_api.stores.ledger.tables import ledger_seq, records, refused_records
from llm_one_api.values import UsageRecord, Value

DatabaseError = SQLAlchemyError
"""What a database that is away or broken raises, by a name for those who know no SQLAlchemy."""

LONGEST_REASON = 1000
_NOT_ASCII = re.compile(r"[^\t\n\r\x20-\x7e]+")

# Asked many times a second: to build one costs more than to execute it.
_NEXT = select(records).where(records.c.seq > bindparam("after")).order_by(records.c.seq).limit(bindparam("most"))
_LAST = select(ledger_seq.c.n)


class Ingested(Value, frozen=True, kw_only=True):
    """What became of a batch."""

    new: int
    known: int
    """Were there already: sent again, without effect."""
    refused: int
    """Could not be kept; they stand in `refused_records`."""
    last_seq: int


class Refused(Value, frozen=True, kw_only=True):
    """A record that cannot be kept."""

    request_id: str
    reason: str
    line: str


class Ledger:
    """The ledger in one database. Opens connections as needed; make one a process, after the fork."""

    def __init__(self, url: str, *, keep_connections: bool = True) -> None:
        """Use the database at *url* (a secret: it may hold a password); see `make_engine` for *keep_connections*."""
        self._engine = make_engine(url, keep_connections=keep_connections)
        self._reading = reading(self._engine)
        self.cursors = Cursors(self._engine)
        self.prices = Prices(self._engine)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file of this machine, which is upgraded without being asked."""
        return self._engine.dialect.name == "sqlite"

    def upgrade(self) -> None:
        """Make or change the tables, so that they are what this version needs."""
        from llm_one_api.stores.ledger import schema  # Alembic takes 10 MB, which no gateway process needs

        schema.upgrade(self._engine)

    def check(self) -> None:
        """Raise SchemaBehind, with what to do, if the tables are not what this version needs."""
        from llm_one_api.stores.ledger import schema

        schema.check(self._engine)

    def open(self) -> None:
        """Get it ready for work: SQLite is upgraded, PostgreSQL is checked (SchemaBehind)."""
        if self.is_sqlite:
            self.upgrade()
        else:
            self.check()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    # -- writing --

    def ingest(self, batch: Sequence[UsageRecord], refused: Sequence[Refused] = ()) -> Ingested:
        """Keep the records of *batch* that are not there yet, in one transaction, and note what was *refused* before.

        The row lock on `ledger_seq` comes first, so ingests go one after another: what is looked up under it stays
        true, and the order of `seq` is the order of commits, without gaps. Raises what the database raises if it
        cannot work; nothing of the batch is kept then.
        """
        with self._engine.begin() as connection:
            last = connection.execute(
                update(ledger_seq).values(n=ledger_seq.c.n + 0).returning(ledger_seq.c.n)
            ).scalar_one()
            by_id: dict[str, UsageRecord] = {}
            for record in batch:
                by_id.setdefault(_id(record), record)
            known = self._known(connection, list(by_id))
            fresh = [record for name, record in by_id.items() if name not in known]
            kept, bad = self._insert(connection, fresh, last)
            self._note(connection, [*refused, *bad])
            if kept:
                connection.execute(update(ledger_seq).values(n=last + kept))
        return Ingested(new=kept, known=len(batch) - len(fresh), refused=len(bad) + len(refused), last_seq=last + kept)

    @staticmethod
    def _known(connection: Connection, ids: list[str]) -> set[str]:
        found: set[str] = set()
        for table in (records, refused_records):
            for start in range(0, len(ids), 500):
                asked = select(table.c.request_id).where(table.c.request_id.in_(ids[start : start + 500]))
                found.update(connection.execute(asked).scalars())
        return found

    def _insert(self, connection: Connection, fresh: list[UsageRecord], last: int) -> tuple[int, list[Refused]]:
        """Insert all at once; where one cannot be kept, find it by inserting one by one."""
        if not fresh:
            return 0, []
        try:
            with connection.begin_nested():
                connection.execute(insert(records), [to_row(r, last + n) for n, r in enumerate(fresh, 1)])
        except Exception as error:
            if not _is_of_the_values(error):
                raise
        else:
            return len(fresh), []
        kept, bad = 0, []
        for record in fresh:
            try:
                with connection.begin_nested():
                    connection.execute(insert(records), [to_row(record, last + kept + 1)])
            except Exception as error:
                if not _is_of_the_values(error):
                    raise
                bad.append(refusal(record, f"the database refuses it: {_cause(error)}"))
            else:
                kept += 1
        return kept, bad

    def _note(self, connection: Connection, bad: Sequence[Refused]) -> None:
        """Set refused records aside, each once."""
        make = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        now = datetime.now(UTC)
        for one in bad:
            connection.execute(
                make(refused_records)
                .values(request_id=one.request_id, reason=one.reason, line=one.line, at=now)
                .on_conflict_do_nothing(index_elements=["request_id"])
            )

    # -- reading --

    def read(self, after: int, limit: int) -> list[Kept]:
        """Give the next *limit* records after place *after*."""
        with self._reading.connect() as connection:
            rows = connection.execute(_NEXT, {"after": after, "most": limit}).all()
        return [Kept(seq=row[0], record=to_record(row)) for row in rows]

    def last_seq(self) -> int:
        """Tell the place of the newest record; 0: there is none."""
        with self._reading.connect() as connection:
            return int(connection.execute(_LAST).scalar_one())

    def summary(self, since: datetime, until: datetime, key: str | None = None) -> list[sums.ModelStats]:
        """Sum up by model what was admitted from *since* until before *until*; with *key*, only that key's."""
        return sums.summary(self._reading, since, until, key)

    def find(self, request_id: str, key: str | None = None) -> UsageRecord | None:
        """Give the record of one call; with *key*, only if it is that key's. None: there is none (yet)."""
        asked = select(records).where(records.c.request_id == request_id)
        if key is not None:
            asked = asked.where(records.c.key == key)
        with self._reading.connect() as connection:
            row = connection.execute(asked).one_or_none()
        return None if row is None else to_record(row)

    def newest(self, limit: int, key: str | None = None, model: str | None = None) -> list[UsageRecord]:
        """Give the records of the calls that were admitted last, the newest first."""
        return sums.newest(self._reading, limit, key, model)


def _is_of_the_values(error: Exception) -> bool:
    """Tell whether the values of a record are at fault, and not the database, its tables or our rights in it.

    When in doubt it is the database: then the batch waits and comes again, and a refused record does not. So it is
    where a row breaks a constraint too, for what is looked up under the lock leaves no other reason.
    """
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return isinstance(error.orig, (ArithmeticError, ValueError))  # met while the values were made ready
    return isinstance(error, (DataError, ArithmeticError, ValueError))


def _cause(error: Exception) -> str:
    """Name what the driver said in a line, without what SQLAlchemy and PostgreSQL add: the statement, the whole row."""
    cause = getattr(error, "orig", None) or error
    said = getattr(getattr(cause, "diag", None), "message_primary", None) or str(cause).partition("\n")[0]
    return f"{type(cause).__name__}: {said}".replace(NUL, REPLACEMENT)[:LONGEST_REASON]


def refusal(record: UsageRecord, reason: str) -> Refused:
    """Set *record* aside with the reason."""
    return Refused(request_id=_id(record), reason=reason, line=ascii_json(msgspec.json.encode(record).decode()))


def unreadable(line: str, reason: str) -> Refused:
    """Set a line aside that is no record; a digest of it is its name, so that it is noted once."""
    digest = hashlib.sha256(line.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    return Refused(request_id=f"line:{digest}", reason=reason[:LONGEST_REASON], line=ascii_json(line))


def ascii_json(text: str) -> str:
    """Write JSON, or what should be some, in ASCII alone: there is no database that refuses it.

    All else can only stand in JSON's strings, where an escape means the same, so JSON stays JSON of the same meaning.
    """
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _id(record: UsageRecord) -> str:
    """Give the id of *record* as it stands in the tables."""
    return record.request_id.replace(NUL, REPLACEMENT)
