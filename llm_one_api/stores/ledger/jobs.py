"""Runs of periodic jobs: whoever makes the row of a period, or takes it up again, does its work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Engine, bindparam, delete, func, literal_column, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llm_one_api.stores.ledger.engine import clock, reading
from llm_one_api.stores.ledger.tables import job_runs, records
from llm_one_api.values import Value

_c = job_runs.c
_json = msgspec.json.Encoder()


class Run(Value, frozen=True, kw_only=True):
    """The right to work on one period of a job, for a while."""

    job: str
    period: datetime
    tries: int
    """Which try this is: who was overtaken by a later one cannot end it."""


class LastRun(Value, frozen=True, kw_only=True):
    """What came of a period that is over with."""

    period: datetime
    started_at: datetime | None
    """When it was first begun; None: a version before has done it."""
    finished_at: datetime
    seconds: float | None
    """That were worked on it, in all tries."""
    ok: bool
    result: dict[str, Any]


class JobRuns:
    """All runs. Leases go by the database's clock, the one that all processes share."""

    def __init__(self, engine: Engine) -> None:
        """Keep the engine, and the statements."""
        self._engine = engine
        self._reading = reading(engine)
        now: Any = literal_column(str(clock(engine)))
        self._now = select(now.label("now"))
        this = (_c.job == bindparam("which"), _c.period == bindparam("when"))
        # A negative lease is no lease: nobody is at it, but it waits until that time.
        not_held = (_c.finished_at.is_(None), func.abs(_c.lease_until) < now)
        mine = (*this, _c.finished_at.is_(None), _c.lease_until > 0.0, _c.tries == bindparam("nth"))
        until = now + bindparam("held")
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._make = (
            insert(job_runs)
            .values(
                job=bindparam("which"), period=bindparam("when"), lease_until=until, tries=1, started_at=bindparam("at")
            )
            .on_conflict_do_nothing(index_elements=["job", "period"])
            .returning(_c.tries)
        )
        self._take_up = (
            update(job_runs)
            .where(*this, *not_held, _c.tries < bindparam("most"))
            .values(lease_until=until, tries=_c.tries + 1, started_at=func.coalesce(_c.started_at, bindparam("at")))
            .returning(_c.tries)
        )
        end: dict[str, Any] = {"finished_at": bindparam("at"), "ok": bindparam("fine"), "result": bindparam("told")}
        worked: dict[str, Any] = {"seconds": func.coalesce(_c.seconds, 0.0) + bindparam("took")}
        self._finish = update(job_runs).where(*mine).values({**end, **worked})
        self._put_off = update(job_runs).where(*mine).values({"lease_until": -until, **worked})
        self._go_on = update(job_runs).where(*mine).values({"lease_until": 0.0, "tries": _c.tries - 1, **worked})
        noting: Any = insert(job_runs).values(
            {
                "job": bindparam("which"), "period": bindparam("when"), "lease_until": 0.0, "tries": 1,
                "started_at": bindparam("since"), "seconds": bindparam("took"), **end,
            }
        )  # fmt: skip
        self._note = noting.on_conflict_do_update(
            index_elements=["job", "period"],
            set_={name: noting.excluded[name] for name in ("started_at", "seconds", "finished_at", "ok", "result")},
        )
        self._reopen = update(job_runs).where(*this, or_(_c.finished_at.is_not(None), _c.lease_until < now))
        self._give_up = (
            update(job_runs)
            .where(*not_held, _c.tries >= bindparam("most"))
            .values(end)
            .returning(_c.job, _c.period, _c.tries)
        )

    def now(self) -> datetime:
        """Tell the time, by the database's clock."""
        with self._reading.connect() as connection:
            return datetime.fromtimestamp(float(connection.execute(self._now).scalar_one()), UTC)

    def begun(self, job: str) -> datetime | None:
        """Tell the first period of *job* that anybody took; None: it never ran."""
        with self._reading.connect() as connection:
            first: datetime | None = connection.execute(select(func.min(_c.period)).where(_c.job == job)).scalar()
        return first

    def first_sign(self) -> datetime | None:
        """Tell when the first job was begun or the first call came, whichever was earlier; None: neither yet."""
        first = (_c.started_at, _c.finished_at, records.c.at)
        with self._reading.connect() as connection:
            moments = [connection.execute(select(func.min(column))).scalar() for column in first]
        return min([moment for moment in moments if moment is not None], default=None)

    def finished(self, job: str, since: datetime) -> set[datetime]:
        """Tell which periods of *job*, from *since* on, are over with."""
        asked = select(_c.period).where(_c.job == job, _c.period >= since, _c.finished_at.is_not(None))
        with self._reading.connect() as connection:
            return set(connection.execute(asked).scalars())

    def claim(self, job: str, period: datetime, seconds: float, most: int) -> Run | None:
        """Take a period for *seconds*; None: another has it, it is over with, or it was tried *most* times."""
        wish = {"which": job, "when": period, "held": seconds, "at": datetime.now(UTC)}
        with self._engine.begin() as connection:
            tries = connection.execute(self._make, wish).scalar_one_or_none()
            if tries is None:
                tries = connection.execute(self._take_up, {**wish, "most": most}).scalar_one_or_none()
        return None if tries is None else Run(job=job, period=period, tries=tries)

    def finish(self, run: Run, *, ok: bool, result: Mapping[str, Any], took: float = 0.0) -> bool:
        """Be done with it, and keep what came of it; False: it was overtaken. *took*: seconds of this try."""
        told = _json.encode(result).decode()
        return self._do(self._finish, run, at=datetime.now(UTC), fine=ok, told=told, took=took)

    def put_off(self, run: Run, seconds: float, took: float = 0.0) -> bool:
        """Let nobody take it up for *seconds*: it failed; False: it was overtaken."""
        return self._do(self._put_off, run, held=seconds, took=took)

    def go_on(self, run: Run, took: float = 0.0) -> bool:
        """Give it back, to be taken up at once: there is more to do, and this counts as no try."""
        return self._do(self._go_on, run, took=took)

    def note(
        self, job: str, period: datetime, *, started_at: datetime, took: float, ok: bool, result: Mapping[str, Any]
    ) -> None:
        """Keep what came of *job* in *period*, in place of what came of it before: for what is done again and again."""
        with self._engine.begin() as connection:
            connection.execute(
                self._note,
                {
                    "which": job, "when": period, "since": started_at, "took": took,
                    "at": datetime.now(UTC), "fine": ok, "told": _json.encode(result).decode(),
                },
            )  # fmt: skip

    def give_up(self, most: int) -> list[Run]:
        """Be done with those that were tried *most* times and are held by nobody; tell which they are."""
        told = _json.encode({"error": "gave up"}).decode()
        values = {"most": most, "at": datetime.now(UTC), "fine": False, "told": told}
        with self._engine.begin() as connection:
            rows = connection.execute(self._give_up, values).all()
        return [Run(job=row.job, period=row.period, tries=row.tries) for row in rows]

    def last(self, job: str) -> LastRun | None:
        """Tell what came of the newest period of *job* that is over with; None: there is none."""
        return self._over(_c.job == job)

    def of(self, job: str, period: datetime) -> LastRun | None:
        """Tell what came of a period; None: it is not over with."""
        return self._over(_c.job == job, _c.period == period)

    def reopen(self, job: str, period: datetime) -> None:
        """Let a period be claimed once more that is over with, or waits to be tried again; not one that is held."""
        anew: dict[str, Any] = dict.fromkeys(("finished_at", "ok", "result", "started_at", "seconds"))
        with self._engine.begin() as connection:
            connection.execute(
                self._reopen.values({**anew, "tries": 0, "lease_until": 0.0}), {"which": job, "when": period}
            )

    def _over(self, *which: Any) -> LastRun | None:
        asked = select(_c.period, _c.started_at, _c.finished_at, _c.seconds, _c.ok, _c.result)
        over = asked.where(*which, _c.finished_at.is_not(None)).order_by(_c.period.desc()).limit(1)
        with self._reading.connect() as connection:
            row = connection.execute(over).one_or_none()
        if row is None:
            return None
        return LastRun(
            period=row.period,
            started_at=row.started_at,
            finished_at=row.finished_at,
            seconds=row.seconds,
            ok=row.ok,
            result=msgspec.json.decode(row.result),
        )

    def prune(self, before: datetime) -> int:
        """Forget the periods before *before*; tell how many there were."""
        with self._engine.begin() as connection:
            return connection.execute(delete(job_runs).where(_c.period < before)).rowcount

    def _do(self, statement: Any, run: Run, **values: Any) -> bool:
        """Execute *statement* on the row of *run*; False: another try has begun."""
        named = {"which": run.job, "when": run.period, "nth": run.tries, **values}
        with self._engine.begin() as connection:
            return bool(connection.execute(statement, named).rowcount == 1)
