"""The figures that rules are about, as they are just now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec
import structlog

from llm_one_api.books.quotas.crossings import standings
from llm_one_api.books.reports.alerts.judging import Figure
from llm_one_api.books.reports.alerts.relay_lag import relay_lag
from llm_one_api.books.reports.alerts.rules import OF_CALLS, OF_COST, PERCENTILES, Group, Rule
from llm_one_api.limits.rules import Rules
from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.ledger.analysis import NotAnswerable, Question, Row, Sums
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.sums import quarter_of
from llm_one_api.stores.upstreams.overview import Overview

log = structlog.get_logger()

Figures = Mapping[str, Figure]
"""By group, as JSON."""

LATE_SECONDS = 60
"""Records that are later are missed: what the others say is not what happened."""
HOUR = timedelta(hours=1)
EXACT_UP_TO, EXACT_CALLS = timedelta(hours=6), 20_000
"""Longer windows, and those with more calls, begin with the quarter of an hour that they begin in; of others each call
is looked at. That takes 18 µs a call."""
_DOWN = frozenset({"ejected", "trial"})
_NO_SUMS = Sums()


class Looking:
    """Looks at the figures of one moment; what two rules ask is looked up once."""

    def __init__(
        self,
        ledger: Ledger,
        now: datetime,
        *,
        zone: ZoneInfo,
        limits: Rules,
        journal: Path,
        upstreams: Callable[[], Overview],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        lags: Callable[[], Iterable[float]] = tuple,
        exact_calls: int = EXACT_CALLS,
    ) -> None:
        """Look at nothing yet. *now* is the ledger's time, *clock* tells this machine's.

        *lags* tells how late the records of other machines are. It and *upstreams* raise OSError, or what Redis' client
        raises, where that is away.
        """
        self._ledger = ledger
        self.now = now
        self._zone = zone
        self._limits = limits
        self._journal = journal
        self._upstreams = upstreams
        self._clock = clock
        self._lags = lags
        self._exact_calls = exact_calls
        self._asked: dict[Any, list[Row]] = {}

    def of(self, rule: Rule) -> Figures | None:
        """Give the figures by group; None: they cannot be known just now. Raises what the ledger raises."""
        if rule.metric in OF_CALLS | OF_COST:
            return self._of_calls(rule)
        if rule.metric == "quota_percent":
            return self._of_quotas(rule)
        if rule.metric == "relay_lag":
            return self._of_relay()
        if rule.metric == "upstream_down":
            return self._of_upstreams(rule)
        aside = self._ledger.pipeline.set_aside()
        return {written(()): Figure(value=Decimal(aside.dead_letters + aside.refused_records))}

    # -- calls --

    def _of_calls(self, rule: Rule) -> Figures | None:
        late = self._lag or Decimal(0)
        if late > LATE_SECONDS:
            log.warning("alerts.cannot_look", rule=rule.name, what="records", why=f"{late:.0f} s late")
            return None
        try:
            rows = self._ask(rule)
        except NotAnswerable as error:
            log.warning("alerts.cannot_look", rule=rule.name, what="ledger", why=str(error))
            return None
        if not rule.group_by and not rows:
            return {written(()): _figure(rule, _NO_SUMS, None)}
        return {written(_group(row)): _figure(rule, row.sums, row) for row in rows}

    @cached_property
    def _until(self) -> datetime:
        """Until when the records of calls are there."""
        return self.now - timedelta(seconds=float(self._lag or 0))

    def _ask(self, rule: Rule) -> list[Row]:
        since, until = self._since(rule), self._until
        percentiles = rule.metric in PERCENTILES
        asked = (since, rule.group_by, tuple(sorted(rule.where.items())), percentiles)
        if asked not in self._asked:
            # In whole quarters it costs next to nothing, however many calls there are.
            question = Question(
                since=quarter_of(since),
                until=until,
                zone=self._zone,
                group_by=rule.group_by,
                where=cast("Any", rule.where),
                percentiles=percentiles,
            )
            rows = self._ledger.analysis.ask(question)
            calls = sum(row.sums.requests for row in rows)
            if calls <= self._exact_calls and until - since <= EXACT_UP_TO:
                rows = self._ledger.analysis.ask(msgspec.structs.replace(question, since=since, exact=True))
            elif rule.metric in OF_COST:
                rows = self._less(rows, rule, since)
            self._asked[asked] = rows
        return self._asked[asked]

    def _less(self, rows: Sequence[Row], rule: Rule, since: datetime) -> list[Row]:
        """Take off what was before *since*: a sum of more time is no approximation."""
        before = self._ledger.alerts.costs.of(quarter_of(since), since, rule.group_by, cast("Any", rule.where))

        def less(row: Row) -> Row:
            cost = (row.sums.cost or Decimal(0)) - before.get(tuple(map(str, row.group.values())), Decimal(0))
            return msgspec.structs.replace(row, sums=msgspec.structs.replace(row.sums, cost=cost))

        return [less(row) for row in rows]

    def _since(self, rule: Rule) -> datetime:
        if rule.metric == "cost_per_hour":
            return self._until - HOUR
        if rule.metric == "cost_per_day":
            return datetime.fromtimestamp(Calendar(self._zone).at("day", self._until.timestamp()).start, UTC)
        return self._until - rule.window

    # -- the rest --

    def _of_quotas(self, rule: Rule) -> Figures:
        chosen = {f"{kind}:{name}" for kind, names in rule.where.items() for name in names}
        found: dict[str, Figure] = {}
        for use in standings(self._ledger.quotas, self._limits, Calendar(self._zone), self.now.timestamp()):
            if not chosen or use.scope in chosen:
                group = (("scope", use.scope), ("period", use.period), ("unit", use.unit))
                found[written(group)] = Figure(value=round(Decimal(use.used) * 100 / use.limit, 2))
        return found

    def _of_relay(self) -> Figures | None:
        return None if self._lag is None else {written(()): Figure(value=self._lag)}

    @cached_property
    def _lag(self) -> Decimal | None:
        """How late records are, of the machine that is farthest behind; None: nobody tells."""
        here = relay_lag(self._journal, self._clock())
        try:
            lags = [round(Decimal(str(lag)), 3) for lag in self._lags()]
        except Exception:  # whatever Redis' client raises: then it is known of this machine alone
            lags = []
        return max([*lags, *([] if here is None else [here])], default=None)

    def _of_upstreams(self, rule: Rule) -> Figures | None:
        try:
            overview = self._upstreams()
        except Exception as error:  # whatever Redis' client raises
            log.warning("alerts.cannot_look", rule=rule.name, what="redis", why=type(error).__name__)
            return None
        if not overview.processes:
            return None
        found: dict[str, Figure] = {}
        for model in overview.models:
            for one in model.upstreams:
                values = (("model", model.model), ("upstream", one.name))
                if all(value in rule.where.get(name, (value,)) for name, value in values):  # type: ignore[call-overload]
                    found[written(values)] = Figure(value=Decimal(one.state in _DOWN or one.kept))
        return found


def written(group: Group) -> str:
    """Write a group as JSON; `{}`: nothing is told apart."""
    return msgspec.json.encode(dict(group)).decode()


def _group(row: Row) -> Group:
    return tuple((name, str(value)) for name, value in row.group.items())


def _figure(rule: Rule, sums: Sums, row: Row | None) -> Figure:
    """Take a rule's figure out of sums; it is none where there are too few calls that tell it."""
    if rule.metric in OF_COST:
        return Figure(value=sums.cost or Decimal(0), samples=sums.requests)
    value, samples = _OF[rule.metric](sums, row)
    enough = samples >= rule.min_requests and value is not None
    return Figure(value=Decimal(str(value)) if enough else None, samples=samples)


def _judged(sums: Sums) -> int:
    return sums.failed + sums.outcomes.get("success", 0)


def _p95(row: Row | None, kind: str) -> float | None:
    times = None if row is None else getattr(row, kind)
    return None if times is None else float(times.p95)


_OF: Mapping[str, Callable[[Sums, Row | None], tuple[float | None, int]]] = {
    "avg_tokens": lambda sums, _: (sums.avg_tokens, sums.with_tokens),
    "error_rate": lambda sums, _: (sums.error_rate, _judged(sums)),
    "avg_duration": lambda sums, _: (sums.avg_duration, sums.with_duration),
    "p95_duration": lambda sums, row: (_p95(row, "duration"), sums.with_duration),
    "avg_ttft": lambda sums, _: (sums.avg_ttft, sums.with_ttft),
    "p95_ttft": lambda sums, row: (_p95(row, "ttft"), sums.with_ttft),
    "unpriced_share": lambda sums, _: (sums.unpriced_share, sums.priced + sums.unpriced),
}
