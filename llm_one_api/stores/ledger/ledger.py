"""The ledger: every finished call, once, in the order it was kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from llm_one_api.stores.ledger import summary as sums
from llm_one_api.stores.ledger.alerts import Alerts
from llm_one_api.stores.ledger.analysis import Analysis
from llm_one_api.stores.ledger.audit import AuditReads
from llm_one_api.stores.ledger.closing import Closing
from llm_one_api.stores.ledger.cursors import Cursors
from llm_one_api.stores.ledger.days import DayReads
from llm_one_api.stores.ledger.dead_letters import DeadLetters
from llm_one_api.stores.ledger.engine import make_engine, reading
from llm_one_api.stores.ledger.ingesting import Ingested, Ingesting, Refused
from llm_one_api.stores.ledger.jobs import JobRuns
from llm_one_api.stores.ledger.pipeline import Pipeline
from llm_one_api.stores.ledger.prices import Prices
from llm_one_api.stores.ledger.quota_audit import QuotaAudit
from llm_one_api.stores.ledger.quotas import Quotas
from llm_one_api.stores.ledger.retention import Retention
from llm_one_api.stores.ledger.rollups import Rollups
from llm_one_api.stores.ledger.rows import Kept, to_record
from llm_one_api.stores.ledger.tables import ledger_seq, records
from llm_one_api.stores.ledger.taken_back import TakenBack
from llm_one_api.values import UsageRecord

DatabaseError = SQLAlchemyError
"""What a database that is away or broken raises, by a name for those who know no SQLAlchemy."""

# Asked many times a second: to build one costs more than to execute it.
_NEXT = select(records).where(records.c.seq > bindparam("after")).order_by(records.c.seq).limit(bindparam("most"))
_LAST = select(ledger_seq.c.n)


class Ledger:
    """The ledger in one database. Opens connections as needed; make one a process, after the fork."""

    def __init__(self, url: str, *, keep_connections: bool = True) -> None:
        """Use the database at *url* (a secret: it may hold a password); see `make_engine` for *keep_connections*."""
        self._engine = make_engine(url, keep_connections=keep_connections)
        self._reading = reading(self._engine)
        self.cursors = Cursors(self._engine)
        self.closing = Closing(self._engine)
        self.rollups = Rollups(self._engine, self.closing)
        self.taken_back = TakenBack(self._engine)
        self.prices = Prices(self._engine, self.rollups, self.taken_back)
        self._ingesting = Ingesting(self._engine, self.rollups)
        self.dead_letters = DeadLetters(self._engine, self.cursors, self._ingesting)
        self.job_runs = JobRuns(self._engine)
        self.alerts = Alerts(self._engine)
        self.quotas = Quotas(self._engine)
        self.quota_audit = QuotaAudit(self._engine)
        self.retention = Retention(self._engine)
        self.audit = AuditReads(self._engine)
        self.pipeline = Pipeline(self._reading)
        self.analysis = Analysis(self._reading)
        self.days = DayReads(self._reading)

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

        schema.check(self._reading)

    def open(self) -> None:
        """Get it ready for the parts of an installation: SQLite is upgraded, PostgreSQL is checked (SchemaBehind)."""
        if self.is_sqlite:
            self.upgrade()
        else:
            self.check()

    def open_as_it_is(self) -> None:
        """Get it ready for who looks at it or puts something right, while parts of another version may still run.

        Tables of an older version are left as they are (SchemaBehind); SQLite's are made where there are none.
        """
        from llm_one_api.stores.ledger import schema

        if self.is_sqlite and schema.revision(self._reading) is None:
            self.upgrade()
        else:
            self.check()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    # -- writing --

    def ingest(
        self, batch: Sequence[UsageRecord], refused: Sequence[Refused] = (), *, instead_of: Sequence[str] = ()
    ) -> Ingested:
        """Keep the records of *batch* that are not there yet, in one transaction, and note what was *refused* before.

        The row lock on `ledger_seq` comes first, so ingests go one after another: what is looked up under it stays
        true, and the order of `seq` is the order of commits, without gaps. The sums grow by what is new, and by nothing
        else. What was refused before under an id in *instead_of* is forgotten first, so that it can be tried again.
        Raises what the database raises if it cannot work; nothing of the batch is kept then.
        """
        return self._ingesting.ingest(batch, refused, instead_of)

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
