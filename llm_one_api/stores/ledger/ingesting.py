"""Takes records into the ledger: each once, with what it adds to the sums, in one transaction."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import itemgetter

import msgspec
from sqlalchemy import Connection, Engine, delete, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, StatementError

from llm_one_api.limits import windows
from llm_one_api.limits.charging import Booking, charge_of
from llm_one_api.stores.ledger.bulk import Adding, inserting
from llm_one_api.stores.ledger.locking import lock
from llm_one_api.stores.ledger.quota_tables import quota_sums
from llm_one_api.stores.ledger.quotas import add_up, span_of
from llm_one_api.stores.ledger.rollups import Rollups
from llm_one_api.stores.ledger.rows import NUL, REPLACEMENT, to_row
from llm_one_api.stores.ledger.sums import Sums, units
from llm_one_api.stores.ledger.tables import DOLLAR, USAGE_COLUMNS, ledger_seq, records, refused_records
from llm_one_api.values import UsageRecord, Value

LONGEST_REASON = 1000
TOO_OLD = "too_old"
"""How the reason begins of a record that is older than those that were deleted: it may have been one of them."""
_NOT_ASCII = re.compile(r"[^\t\n\r\x20-\x7e]+")

MOST = 2**48
"""A figure beyond this measures nothing, and a few of them would be more than a column of sums can hold."""
MOST_SMALL = 2**31
MOST_SECONDS, MOST_DOLLARS = 1e9, Decimal(10**9)
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Beyond these no call was admitted, and a moment is none any more in some time zone, or an hour later."""
LONGEST_KEY = 2600
"""Bytes of the texts by which sums tell calls apart, together: PostgreSQL has no room for more in an index."""
LONGEST_WINDOW, LONGEST_SPAN = 2500, 40
"""Bytes of a quota window's name, and of that without its scope: for the same reason."""


class Ingested(Value, frozen=True, kw_only=True):
    """What became of a batch."""

    new: int
    known: int
    """Were there already: sent again, without effect."""
    refused: int
    """Could not be kept; they stand in `refused_records`."""
    last_seq: int
    bookings: tuple[Booking, ...] = ()
    """What those are charged that are in the ledger now and are charged to quotas: the new ones, and the known."""


class Refused(Value, frozen=True, kw_only=True):
    """A record that cannot be kept."""

    request_id: str
    reason: str
    line: str


class Ingesting:
    """Takes batches in, on one engine."""

    def __init__(self, engine: Engine, rollups: Rollups) -> None:
        """Keep both."""
        self._engine = engine
        self._rollups = rollups
        self._insert_rows = inserting(records, engine.dialect)
        self._charge = Adding(quota_sums, engine.dialect)
        dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
        in_list = text(_IN_LIST[engine.dialect.name])
        self._ask_kept = select(records.c.request_id, records.c.seq).where(records.c.request_id.in_(in_list))
        self._ask_refused = select(refused_records.c.request_id).where(refused_records.c.request_id.in_(in_list))
        self._note_one = dialect.insert(refused_records).on_conflict_do_nothing(index_elements=["request_id"])

    def ingest(self, batch: Sequence[UsageRecord], refused: Sequence[Refused], instead_of: Sequence[str]) -> Ingested:
        """Do what `Ledger.ingest` promises."""
        with self._engine.begin() as connection:
            return self._ingest(connection, batch, refused, instead_of)

    def _ingest(
        self,
        connection: Connection,
        batch: Sequence[UsageRecord],
        refused: Sequence[Refused],
        instead_of: Sequence[str],
    ) -> Ingested:
        last, deleted_before = lock(connection)
        if instead_of:
            connection.execute(delete(refused_records).where(refused_records.c.request_id.in_(instead_of)))
        by_id: dict[str, UsageRecord] = {}
        for record in batch:
            by_id.setdefault(id_of(record), record)
        known = self._known(connection, list(by_id))
        fresh, bad = [], list(refused)
        for name, record in by_id.items():
            if name in known:
                continue
            if reason := _why_not(record, deleted_before):
                bad.append(refusal(record, reason))
            else:
                fresh.append(record)
        sums = Sums()
        kept = self._insert(connection, fresh, last, sums, bad)
        self._note(connection, bad)
        bookings = _bookings(enumerate(kept, last + 1), new=True)
        if kept:
            connection.execute(update(ledger_seq).values(n=last + len(kept)))
            self._rollups.add(connection, sums)
            self._charge(connection, add_up(booking.charge for booking in bookings))
        if known:
            there = ((seq, by_id[name]) for name, seq in known.items() if seq is not None)
            bookings += _bookings(there, new=False)
        return Ingested(
            new=len(kept),
            # Of a batch's records, all that are not new and were not refused just now were known.
            known=len(batch) - len(kept) - (len(bad) - len(refused)),
            refused=len(bad),
            last_seq=last + len(kept),
            bookings=tuple(bookings),
        )

    def _known(self, connection: Connection, ids: list[str]) -> dict[str, int | None]:
        """Tell which of *ids* are there: at which place, or (None) as refused ones."""
        # One parameter: to put hundreds into a statement costs more than to look them up.
        listed = {"ids": msgspec.json.encode(ids).decode()}
        known: dict[str, int | None] = dict.fromkeys(connection.execute(self._ask_refused, listed).scalars())
        known.update(connection.execute(self._ask_kept, listed).all())
        return known

    def _insert(
        self, connection: Connection, fresh: list[UsageRecord], last: int, sums: Sums, bad: list[Refused]
    ) -> list[UsageRecord]:
        """Insert all at once; where one cannot be kept, find it by inserting one by one, and put it with the *bad*.

        What was kept is added to *sums*; gives it, in the order of its places.
        """
        if not fresh:
            return []
        kept = fresh
        try:
            rows = [to_row(r, last + n) for n, r in enumerate(fresh, 1)]
            with connection.begin_nested():
                self._insert_rows(connection, list(map(_values, rows)))
        except Exception as error:
            if not _is_of_the_values(error):
                raise
            rows, kept = [], []
            for record in fresh:
                try:
                    row = to_row(record, last + len(rows) + 1)
                    with connection.begin_nested():
                        self._insert_rows(connection, [_values(row)])
                except Exception as error:
                    if not _is_of_the_values(error):
                        raise
                    bad.append(refusal(record, f"the database refuses it: {_cause(error)}"))
                else:
                    rows.append(row)
                    kept.append(record)
        for row in rows:
            sums.add(row)
        return kept

    def _note(self, connection: Connection, bad: Sequence[Refused]) -> None:
        """Set refused records aside, each once."""
        now = datetime.now(UTC)
        for one in bad:
            values = {"request_id": one.request_id, "reason": one.reason, "line": one.line, "at": now}
            connection.execute(self._note_one, values)


def _bookings(placed: Iterable[tuple[int, UsageRecord]], *, new: bool) -> list[Booking]:
    """Tell what records are charged that are charged to quotas; most often none is."""
    return [
        Booking(charge=charge, seq=seq, new=new)
        for seq, record in placed
        if record.quota_windows and (charge := charge_of(_as_kept(record))) is not None
    ]


def _as_kept(record: UsageRecord) -> UsageRecord:
    """Round the cost as its column does: what is added up is what the records come to, whenever that is asked."""
    cost = record.quota_cost
    if cost is None or (kept := Decimal(units(cost)) / DOLLAR) == cost:
        return record
    return msgspec.structs.replace(record, quota_cost=kept)


_values = itemgetter(*(column.name for column in records.columns))
_IN_LIST = {
    "sqlite": "SELECT value FROM json_each(:ids)",
    "postgresql": "SELECT json_array_elements_text(CAST(:ids AS json))",
}


def _why_not(record: UsageRecord, deleted_before: datetime | None) -> str | None:
    """Tell why *record* cannot be kept; None: it can."""
    if record.at.tzinfo is None or not EARLIEST <= record.at < LATEST:
        return "at is no time of a call"
    if deleted_before is not None and record.at < deleted_before:
        return f"{TOO_OLD}: calls before {deleted_before.isoformat(timespec='seconds')} are no longer kept one by one"
    usage = record.usage
    for name in USAGE_COLUMNS:
        figure = getattr(usage, name)
        if figure is not None and not 0 <= figure <= MOST:
            return f"{name} is no count"
    for name, count in (("status", record.status), ("sdk_retry_count", record.sdk_retry_count)):
        # PostgreSQL's driver would write the last four bytes of it, and say nothing.
        if count is not None and not 0 <= count < MOST_SMALL:
            return f"{name} is no count"
    for name, seconds in (("duration", record.duration), ("ttft", record.ttft), ("audio_seconds", usage.audio_seconds)):
        if seconds is not None and not 0 <= seconds <= MOST_SECONDS:
            return f"{name} is no time"
    for name, amount in (("cost", record.cost), ("quota_cost", record.quota_cost)):
        if amount is not None and not amount.is_finite():  # a NaN cannot even be compared: that raises
            return f"{name} is no amount"
    if record.cost is not None and abs(record.cost) > MOST_DOLLARS:
        return "cost is no amount"
    names = (record.user, record.key, record.model, record.endpoint, record.upstream or "")
    if len("".join(names)) * 4 > LONGEST_KEY < len("".join(names).encode(errors="replace")):
        return "user, key, model, endpoint and upstream are too long, taken together"
    return _why_not_charged(record) if record.quota_windows else None


def _why_not_charged(record: UsageRecord) -> str | None:
    """Tell why what *record* is charged cannot be added up; None: it can."""
    if record.quota_tokens is not None and not 0 <= record.quota_tokens <= MOST:
        return "quota_tokens is no count"
    if record.quota_cost is not None and abs(record.quota_cost) > MOST_DOLLARS:
        return "quota_cost is no amount"
    for window in record.quota_windows:
        try:
            windows.parts(window)
        except ValueError:
            return "quota_windows names what is no window"
        if len(window.encode(errors="replace")) > LONGEST_WINDOW or len(span_of(window)) > LONGEST_SPAN:
            return "quota_windows names a window that is too long"
    return None


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
    return Refused(request_id=id_of(record), reason=reason, line=ascii_json(msgspec.json.encode(record).decode()))


def unreadable(line: str, reason: str) -> Refused:
    """Set a line aside that is no record; a digest of it is its name, so that it is noted once."""
    digest = hashlib.sha256(line.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    return Refused(request_id=f"line:{digest}", reason=reason[:LONGEST_REASON], line=ascii_json(line))


def ascii_json(text: str) -> str:
    """Write JSON, or what should be some, in ASCII alone: there is no database that refuses it.

    All else can only stand in JSON's strings, where an escape means the same, so JSON stays JSON of the same meaning.
    """
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)


def id_of(record: UsageRecord) -> str:
    """Give the id of *record* as it stands in the tables."""
    return record.request_id.replace(NUL, REPLACEMENT)
