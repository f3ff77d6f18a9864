"""Quotas in the ledger: what windows are charged, resets, boosts, and crossings that were announced.

Redis counts what may still be used; what it counts as booked is what stands here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from llm_one_api.limits.charging import Charge
from llm_one_api.limits.rules import UNITS, Period, Unit
from llm_one_api.stores.ledger.engine import one_moment, reading
from llm_one_api.stores.ledger.locking import lock
from llm_one_api.stores.ledger.quota_tables import quota_boosts, quota_crossings, quota_resets, quota_sums
from llm_one_api.stores.ledger.rows import NUL, REPLACEMENT
from llm_one_api.stores.ledger.sums import Rows
from llm_one_api.stores.ledger.tables import ledger_seq, records
from llm_one_api.stores.limits.messages import Amount, Boost
from llm_one_api.values import Value

_s, _r, _b, _c = quota_sums.c, quota_resets.c, quota_boosts.c, quota_crossings.c
_AT_ONCE = 500
_NOTHING = Amount()


class Standing(Value, frozen=True, kw_only=True):
    """What is booked, at one moment."""

    seq: int
    """The last record that is in it."""
    booked: dict[str, Amount]
    """By window; one that is not there has nothing."""
    boosts: dict[str, Boost]
    """By `{scope}:{period}:{unit}`."""


class Reset(Value, frozen=True, kw_only=True):
    """What was taken off a window."""

    window: str
    amount: Amount
    reason: str
    at: datetime


class QuotaBoost(Value, frozen=True, kw_only=True):
    """What is added to a limit for a time."""

    scope: str
    period: Period
    unit: Unit
    amount: int
    """Tokens, requests, or 1e-9 USD."""
    until: datetime
    at: datetime
    """When it was given."""

    @property
    def name(self) -> str:
        """What the limit store calls it."""
        return f"{self.scope}:{self.period}:{self.unit}"


class Crossing(Value, frozen=True, kw_only=True):
    """That so much of a limit is used."""

    window: str
    unit: Unit
    percent: int


class Quotas:
    """Reads and changes them, on one engine."""

    def __init__(self, engine: Engine) -> None:
        """Keep it."""
        self._engine = engine
        self._reading = reading(engine)
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    # -- what is booked --

    def booked(self, windows: Collection[str]) -> dict[str, Amount]:
        """Tell what is booked of each of *windows*."""
        with one_moment(self._reading) as connection:
            found = _booked(connection, (), windows)
        return {window: found.get(window, _NOTHING) for window in windows}

    def standing(self, spans: Collection[str], windows: Collection[str] = ()) -> Standing:
        """Tell what is booked of all windows of *spans* (such as `day:2026-11-24`), and of *windows*."""
        with one_moment(self._reading) as connection:
            return _standing(connection, spans, windows)

    def in_ledger(self, ids: Iterable[str]) -> set[str]:
        """Tell which of these calls have a record."""
        with self._reading.connect() as connection:
            return _in_ledger(connection, ids)

    @contextmanager
    def at_rest(self) -> Iterator[AtRest]:
        """Keep the ledger from growing for the length of a block: nothing is booked, reset or boosted meanwhile."""
        with self._engine.begin() as connection:
            lock(connection)
            yield AtRest(connection)

    # -- what operators do --

    def reset(self, window: str, reason: str, units: Collection[Unit] = UNITS) -> Amount:
        """Take off *window* what is booked there of *units*; tells what that was.

        The limit store learns of it at the next quota check.
        """
        with self._engine.begin() as connection:
            lock(connection)
            booked = _booked(connection, (), [window]).get(window, _NOTHING)
            off = Amount(*[amount if unit in units else 0 for unit, amount in zip(UNITS, booked, strict=True)])
            row = {"window": window, **_columns(off), "reason": reason, "at": datetime.now(UTC)}
            connection.execute(insert(quota_resets).values(row))
        return off

    def resets(self, limit: int = 100) -> list[Reset]:
        """Give the newest resets, the last one first."""
        asked = select(quota_resets).order_by(_r.id.desc()).limit(limit)
        with self._reading.connect() as connection:
            rows = connection.execute(asked).all()
        return [
            Reset(window=row.window, amount=Amount(row.tokens, row.requests, row.nanos), reason=row.reason, at=row.at)
            for row in rows
        ]

    def boost(self, scope: str, period: Period, unit: Unit, amount: int, until: datetime) -> QuotaBoost:
        """Add *amount* (tokens, requests, or 1e-9 USD) to a limit until *until*, in place of what was added before.

        The limit store learns of it at the next quota check, or from whoever boosts.
        """
        given = QuotaBoost(scope=scope, period=period, unit=unit, amount=amount, until=until, at=datetime.now(UTC))
        values = {"amount": amount, "until": until, "at": given.at}
        key = {"scope": scope, "period": period, "unit": unit}
        with self._engine.begin() as connection:
            lock(connection)
            added = self._insert(quota_boosts).values(**key, **values)
            connection.execute(added.on_conflict_do_update(index_elements=list(key), set_=values))
        return given

    def end_boost(self, scope: str, period: Period, unit: Unit) -> bool:
        """Add nothing to a limit any more; False: nothing was added."""
        mine = delete(quota_boosts).where(_b.scope == scope, _b.period == period, _b.unit == unit)
        with self._engine.begin() as connection:
            lock(connection)
            return connection.execute(mine).rowcount > 0

    def boosts(self) -> list[QuotaBoost]:
        """Give all boosts, also those that are over."""
        with self._reading.connect() as connection:
            rows = connection.execute(select(quota_boosts).order_by(_b.scope, _b.period, _b.unit)).mappings().all()
        return [QuotaBoost(**row) for row in rows]

    # -- what was announced --

    def take_note(self, crossings: Sequence[Crossing]) -> list[Crossing]:
        """Keep *crossings*; gives those that were not known, each to one of those who ask only."""
        known: set[tuple[str, str, int]] = set()
        windows = sorted({one.window for one in crossings})
        with self._reading.connect() as connection:
            for some in _in_parts(windows):
                asked = select(_c.window, _c.unit, _c.percent).where(_c.window.in_(some))
                known.update((row.window, row.unit, row.percent) for row in connection.execute(asked))
        fresh = [one for one in crossings if (one.window, one.unit, one.percent) not in known]
        if not fresh:
            return []
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            return [one for one in fresh if self._is_new(connection, one, now)]

    def _is_new(self, connection: Connection, one: Crossing, now: datetime) -> bool:
        row = self._insert(quota_crossings).values(window=one.window, unit=one.unit, percent=one.percent, at=now)
        return connection.execute(row.on_conflict_do_nothing().returning(_c.percent)).first() is not None


class AtRest:
    """The ledger while nobody changes it."""

    def __init__(self, connection: Connection) -> None:
        """Read by *connection*, which holds the lock."""
        self.connection = connection

    def standing(self, spans: Collection[str], windows: Collection[str] = ()) -> Standing:
        """Do what `Quotas.standing` does."""
        return _standing(self.connection, spans, windows)

    def in_ledger(self, ids: Iterable[str]) -> set[str]:
        """Do what `Quotas.in_ledger` does."""
        return _in_ledger(self.connection, ids)


def span_of(window: str) -> str:
    """Give a window's name without its scope: `day:2026-11-24`."""
    return ":".join(window.rsplit(":", 2)[1:])


def add_up(charges: Iterable[Charge]) -> Rows:
    """Add up what windows are charged, as rows of `quota_sums`."""
    rows: Rows = {}
    for charge in charges:
        for name in charge.windows:
            window = name.replace(NUL, REPLACEMENT)
            sums = rows.setdefault((span_of(window), window), [0, 0, 0])
            sums[0] += charge.tokens
            sums[1] += 1
            sums[2] += charge.nanos
    return rows


def _standing(connection: Connection, spans: Collection[str], windows: Collection[str]) -> Standing:
    boosts = connection.execute(select(quota_boosts)).mappings().all()
    return Standing(
        seq=int(connection.execute(select(ledger_seq.c.n)).scalar_one()),
        booked=_booked(connection, spans, windows),
        boosts={
            boost.name: Boost(boost.amount, round(boost.until.timestamp() * 1000))
            for boost in (QuotaBoost(**row) for row in boosts)
        },
    )


def _booked(connection: Connection, spans: Collection[str], windows: Collection[str]) -> dict[str, Amount]:
    """Take what was reset off the sums."""
    asked = select(_s.window, _s.tokens, _s.requests, _s.nanos)
    rest = [window for window in windows if span_of(window) not in spans]
    found: dict[str, Amount] = {}
    for some in _in_parts(sorted(spans)):
        found |= {row[0]: Amount(*row[1:]) for row in connection.execute(asked.where(_s.span.in_(some)))}
    for some in _in_parts(rest):
        mine = asked.where(_s.span.in_(sorted({span_of(window) for window in some})), _s.window.in_(some))
        found |= {row[0]: Amount(*row[1:]) for row in connection.execute(mine)}
    off: Any = select(_r.window, func.sum(_r.tokens), func.sum(_r.requests), func.sum(_r.nanos)).group_by(_r.window)
    for window, *amounts in connection.execute(off):
        if window in found:
            found[window] = Amount(*[have - int(took) for have, took in zip(found[window], amounts, strict=True)])
    return found


def _in_ledger(connection: Connection, ids: Iterable[str]) -> set[str]:
    by_row = {name.replace(NUL, REPLACEMENT): name for name in ids}
    found: set[str] = set()
    for some in _in_parts(list(by_row)):
        found.update(connection.execute(select(records.c.request_id).where(records.c.request_id.in_(some))).scalars())
    return {by_row[row] for row in found}


def _columns(amount: Amount) -> dict[str, int]:
    return {"tokens": amount.tokens, "requests": amount.requests, "nanos": amount.nanos}


def _in_parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), _AT_ONCE):
        yield names[first : first + _AT_ONCE]
