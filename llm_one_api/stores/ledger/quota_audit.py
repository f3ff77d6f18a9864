"""What windows come to by their records, beside the sums that were kept of them; and the sums made anew."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, delete, func, select

from llm_one_api.limits.charging import Charge, charge_of
from llm_one_api.stores.ledger.bulk import Adding
from llm_one_api.stores.ledger.engine import one_moment, reading
from llm_one_api.stores.ledger.locking import lock
from llm_one_api.stores.ledger.quota_tables import quota_sums
from llm_one_api.stores.ledger.quotas import add_up, span_of
from llm_one_api.stores.ledger.sums import HOUR, Rows, hour_of
from llm_one_api.stores.ledger.tables import ledger_seq, records
from llm_one_api.stores.limits.messages import Amount
from llm_one_api.values import UsageRecord

_r = records.c
_PAGE = 2000
_CHARGED = select(_r.request_id, _r.at, _r.quota_windows, _r.quota_tokens, _r.quota_cost).where(
    _r.quota_windows.is_not(None)
)
_words = msgspec.json.Decoder(tuple[str, ...])


class QuotaAudit:
    """Reads on one engine, an hour of calls at a time; what a call is charged never changes."""

    def __init__(self, engine: Engine) -> None:
        """Keep it."""
        self._engine = engine
        self._reading = reading(engine)
        self._add = Adding(quota_sums, engine.dialect)

    def kept(self) -> tuple[int, dict[str, Amount]]:
        """Give the sums as they are kept, and the last record that is in them."""
        asked = select(quota_sums.c.window, quota_sums.c.tokens, quota_sums.c.requests, quota_sums.c.nanos)
        with one_moment(self._reading) as connection:
            upto = int(connection.execute(select(ledger_seq.c.n)).scalar_one())
            return upto, {row[0]: Amount(*row[1:]) for row in connection.execute(asked)}

    def of_records(self, upto: int, since: datetime, until: datetime) -> dict[str, Amount]:
        """Add up what windows are charged by the records up to place *upto* that were admitted from *since* to *until*.

        For windows that begin before or end after, that is a part.
        """
        rows: Rows = {}
        hour = since
        while True:
            with self._reading.connect() as connection:
                asked = select(func.min(_r.at)).where(_r.at >= hour, _r.at < until)
                first: datetime | None = connection.execute(asked).scalar()
                if first is None:
                    return {window: Amount(*sums) for (_, window), sums in rows.items()}
                start, hour = max(first, since), hour_of(first) + HOUR
                within = _CHARGED.where(_r.at >= start, _r.at < min(hour, until), _r.seq <= upto)
                _add(rows, add_up(_charges(connection, within)))

    def make_anew(self, windows: Collection[str], since: datetime, until: datetime) -> None:
        """Set the sums of *windows*, all of whose records were admitted from *since* to *until*, to what these come to.

        Ingests wait only while the few records are added up that came meanwhile. Nothing is done if retention deleted
        some meanwhile.
        """
        with self._reading.connect() as connection:
            upto, deleted = connection.execute(select(ledger_seq.c.n, ledger_seq.c.deleted)).one()
        found = self.of_records(upto, since, until)
        with self._engine.begin() as connection:
            lock(connection)
            if connection.execute(select(ledger_seq.c.deleted)).scalar_one() != deleted:
                return
            rows = add_up(_charges(connection, _CHARGED.where(_r.seq > upto)))
            _add(rows, {(span_of(window), window): list(amount) for window, amount in found.items()})
            for window in windows:
                connection.execute(delete(quota_sums).where(quota_sums.c.window == window))
            self._add(connection, {key: sums for key, sums in rows.items() if key[1] in windows})


def _charges(connection: Connection, asked: Any) -> Iterable[Charge]:
    with connection.execute(asked, execution_options={"yield_per": _PAGE}) as found:
        for request_id, at, windows, tokens, cost in found:
            charge = charge_of(
                UsageRecord(
                    request_id=request_id,
                    at=at,
                    model="",
                    user="",
                    key="",
                    endpoint="",
                    outcome="success",
                    quota_windows=_words.decode(windows),
                    quota_tokens=tokens,
                    quota_cost=cost,
                )
            )
            if charge is not None:
                yield charge


def _add(rows: Rows, more: Rows) -> None:
    for key, sums in more.items():
        found = rows.get(key)
        rows[key] = sums if found is None else list(map(int.__add__, found, sums))
