"""What the ledger tells: its sums as counters, what waits in it, and how its periodic jobs fare.

Sums by hours are kept for good and each call is in them once, so the counters go on through restarts and retention
without anything being remembered here. Where a call that had been counted is given another cost, what was taken back is
kept beside the sums, so that these two never fall either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from decimal import Decimal
from typing import Protocol, get_args
from zoneinfo import ZoneInfo

from prometheus_client.core import Metric

from llm_one_api.books.jobs import Planned
from llm_one_api.books.overdue import is_overdue
from llm_one_api.metrics.families import counter, gauge, histogram
from llm_one_api.metrics.labels import Known, Labels
from llm_one_api.metrics.spreads import cumulative
from llm_one_api.stores.ledger.analysis import Dimension, Question, Row, Sums, of_all_time
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.sums import QUARTER, quarter_of
from llm_one_api.stores.ledger.tables import USAGE_COLUMNS
from llm_one_api.values import Outcome

MOST_USERS = 1000
"""Users that are told apart, those with the most calls. The others are left out."""
OUTCOMES: tuple[str, ...] = get_args(Outcome)
_UTC = ZoneInfo("UTC")
_MILLION = 10**6
_WHOLE = {"prompt_tokens": "prompt", "completion_tokens": "completion"}
_PARTS = {
    name: name.removesuffix("_tokens")
    for name in USAGE_COLUMNS
    if name.endswith("_tokens") and name not in {*_WHOLE, "total_tokens"}
}
_TIMES = {"duration": "request_duration_seconds", "ttft": "time_to_first_token_seconds"}

Number = int | Decimal
Counts = dict[Labels, Number]


class Quotas(Protocol):
    """What tells how full quotas are."""

    def __call__(self, ledger: Ledger, now: datetime) -> Iterable[Metric]:
        """Give the metrics of them."""


class FromLedger:
    """Reads one ledger. What it gives is of one scrape; nothing is kept from one to the next."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        known: Known,
        wanted: AbstractSet[str],
        plugins: Collection[str],
        jobs: Sequence[Planned],
        quotas: Quotas,
        zone: ZoneInfo,
        since: datetime | None = None,
    ) -> None:
        """Read *ledger*, as far as metrics are *wanted*. Jobs may be overdue if somebody could do them *since* then."""
        self._ledger = ledger
        self._known = known
        self._wanted = wanted
        self._plugins = plugins
        self._jobs = jobs
        self._quotas = quotas
        self._zone = zone
        self._since = since

    def __call__(self) -> list[Metric]:
        """Give all that is wanted. Raises what the database raises."""
        now = self._ledger.job_runs.now()
        parts: tuple[tuple[Collection[str], Callable[[], Iterable[Metric]]], ...] = (
            (_BY_OUTCOME, self._totals),
            (_TIMES.values(), self._times),
            (("user_request_total", "user_token_total", "user_cost_usd_total"), self._by_user),
            (("error_rate",), lambda: self._error_rate(now)),
            (("quota_used_ratio",), lambda: self._quotas(self._ledger, now)),
            (("dead_letters", "refused_records", "plugin_lag_records"), self._set_aside),
            ([name for name in self._wanted if name.startswith("job_")], lambda: self._job_runs(now)),
        )
        return [metric for names, read in parts if not self._wanted.isdisjoint(names) for metric in read()]

    # -- counters --

    def _totals(self) -> Iterator[Metric]:
        found: dict[str, Counts] = {name: {} for name in _BY_OUTCOME}
        with self._ledger.analysis.moment() as moment:
            rows, taken_back = self._ledger.analysis.totals(moment), self._ledger.taken_back.all(moment)
        for row in rows:
            sums, of = row.sums, row.group
            model, upstream = self._labels(of, "model"), self._labels(of, "model", "upstream")
            for outcome in OUTCOMES:  # also 0: of a series that begins with 1, Prometheus does not see that one call
                _add(
                    found["request_total"],
                    self._known.of(dict(of) | {"outcome": outcome}),
                    sums.outcomes.get(outcome, 0),
                )
            _add(found["attempt_total"], model, sums.attempts)
            _add(found["sdk_retry_total"], model, sums.sdk_retries)
            _add(found["metered_request_total"], model, sums.with_prompt_tokens)
            _add(found["estimated_request_total"], model, sums.estimated)
            _add(found["priced_request_total"], upstream, sums.priced)
            _add(found["unpriced_request_total"], upstream, sums.unpriced)
            if sums.cost is not None:
                _add(found["cost_usd_total"], upstream, sums.cost)
            for name, label in _WHOLE.items():
                _add(found["token_usage_total"], (*upstream, ("type", label)), getattr(sums, name))
            for name, label in _PARTS.items():
                if tokens := getattr(sums, name):
                    _add(found["token_part_total"], (*upstream, ("part", label)), tokens)
        for back in taken_back:
            labels = self._labels({"model": back.model, "upstream": back.upstream}, "model", "upstream")
            _add(found["unpriced_request_total"], labels, back.unpriced)
            if back.cost:
                _add(found["cost_usd_total"], labels, back.cost)
        return (counter(name, values) for name, values in found.items())

    def _times(self) -> Iterator[Metric]:
        counts: dict[str, dict[Labels, dict[int, int]]] = {kind: {} for kind in _TIMES}
        micros: dict[str, Counts] = {kind: {} for kind in _TIMES}
        for row, spread in self._ledger.analysis.latencies(of_all_time("model", "endpoint", "stream", "upstream")):
            labels = self._known.of(row.group)
            for kind in _TIMES:
                into = counts[kind].setdefault(labels, {})
                for bucket, calls in spread.get(kind, {}).items():
                    into[bucket] = into.get(bucket, 0) + calls
                _add(micros[kind], labels, getattr(row.sums, f"{kind}_us"))
        for kind, name in _TIMES.items():
            yield histogram(
                name,
                {
                    labels: (cumulative(spread), int(micros[kind][labels]) / _MILLION)
                    for labels, spread in counts[kind].items()
                    if spread
                },
            )

    def _by_user(self) -> Iterator[Metric]:
        with self._ledger.analysis.moment() as moment:
            rows = self._ledger.analysis.ask(of_all_time("user"), moment=moment)[:MOST_USERS]
            taken_back = self._ledger.taken_back.all(moment)
        costs = {_user(row): row.sums.cost for row in rows}
        for back in taken_back:
            user: Labels = (("user", back.user),)
            if (cost := costs.get(user)) is not None:
                costs[user] = cost + back.cost
        yield counter("user_request_total", {_user(row): row.sums.requests for row in rows})
        yield counter(
            "user_token_total",
            {(*_user(row), ("type", label)): getattr(row.sums, name) for row in rows for name, label in _WHOLE.items()},
        )
        yield counter("user_cost_usd_total", {user: cost for user, cost in costs.items() if cost is not None})

    # -- gauges --

    def _error_rate(self, now: datetime) -> Iterator[Metric]:
        begin = quarter_of(now)
        question = Question(
            since=begin - QUARTER, until=begin + QUARTER, zone=_UTC, group_by=("model", "outcome"), percentiles=False
        )
        outcomes: dict[str, dict[str, int]] = {}
        for row in self._ledger.analysis.ask(question):
            of = outcomes.setdefault(self._known.model(str(row.group["model"])), {})
            for outcome, calls in row.sums.outcomes.items():
                of[outcome] = of.get(outcome, 0) + calls
        rates = {(("model", model),): Sums(outcomes=of).error_rate for model, of in outcomes.items()}
        yield gauge("error_rate", {labels: rate for labels, rate in rates.items() if rate is not None})

    def _set_aside(self) -> Iterator[Metric]:
        aside, end = self._ledger.pipeline.set_aside(), self._ledger.pipeline.whole()
        yield gauge("dead_letters", aside.dead_letters)
        yield gauge("refused_records", aside.refused_records)
        behind = {one.name: one.behind for one in end.consumers}
        yield gauge(
            "plugin_lag_records",
            {(("plugin", name),): behind.get(name, end.last_seq) for name in self._plugins},
        )

    def _job_runs(self, now: datetime) -> Iterator[Metric]:
        runs = self._ledger.job_runs
        last = {(("name", job.name),): runs.last(job.name) for job in self._jobs}
        done = {labels: run for labels, run in last.items() if run is not None}
        yield gauge("job_last_run_timestamp_seconds", {of: run.finished_at.timestamp() for of, run in done.items()})
        yield gauge(
            "job_last_duration_seconds", {of: run.seconds for of, run in done.items() if run.seconds is not None}
        )
        yield gauge("job_last_ok", {of: int(run.ok) for of, run in done.items()})
        yield gauge(
            "job_overdue",
            {(("name", job.name),): int(is_overdue(runs, job, self._zone, now, self._since)) for job in self._jobs},
        )

    def _labels(self, of: Mapping[Dimension, str | bool], *names: Dimension) -> Labels:
        return self._known.of({name: of[name] for name in names})


_BY_OUTCOME = (
    "request_total", "attempt_total", "sdk_retry_total", "metered_request_total", "estimated_request_total",
    "priced_request_total", "unpriced_request_total", "cost_usd_total", "token_usage_total", "token_part_total",
)  # fmt: skip


def _add(to: Counts, labels: Labels, number: Number) -> None:
    before = to.get(labels)
    to[labels] = number if before is None else before + number


def _user(row: Row) -> Labels:
    return (("user", str(row.group["user"])),)
