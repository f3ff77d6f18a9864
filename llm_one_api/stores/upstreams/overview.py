"""How the upstreams do, added up over all processes: for pages and tables; no call waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from llm_one_api.stores.buckets import quantile
from llm_one_api.stores.upstreams.messages import Condition, MemberFigures, ModelFigures, ProcessFigures, Told
from llm_one_api.values import Value

WINDOW = 900
"""Seconds that figures look back on."""
_MILLION = 10**6
_HTTP = "http_"


class Times(Value, frozen=True, kw_only=True):
    """How long something took, in seconds; None: nothing is known of it."""

    p50: float | None
    p95: float | None


class LastError(Value, frozen=True, kw_only=True):
    """What went wrong last."""

    code: str
    status: int | None
    """That the upstream answered with; None: it is another error."""
    at: float


class UpstreamShown(Value, frozen=True, kw_only=True):
    """How one upstream of a model does. Times are seconds since 1970."""

    name: str
    state: Literal["healthy", "trial", "ejected", "paused", "off"]
    why: str | None
    since: float | None
    until: float | None
    """When it may be asked again."""
    kept: bool
    """Whether it would rest, were it not the last one."""
    weight: int
    max_concurrent: int | None
    in_flight: int
    requests: int
    failures: int
    share: float | None
    """Of the model's requests; None: there were none."""
    ttft: Times
    duration: Times
    last_error: LastError | None


class ModelShown(Value, frozen=True, kw_only=True):
    """How a model's upstreams do."""

    model: str
    strategy: str
    fallbacks: tuple[str, ...]
    waiting: int
    """Calls that wait for an upstream that has room."""
    requests: int
    upstreams: tuple[UpstreamShown, ...]


class Overview(Value, frozen=True, kw_only=True):
    """How they all do."""

    processes: int
    """How many were added up."""
    models: tuple[ModelShown, ...]


class _Sum:
    """What all processes have told of one upstream."""

    def __init__(self) -> None:
        self.in_flight = self.requests = self.failures = 0
        self.kept = False
        self.ttft: dict[int, int] = {}
        self.duration: dict[int, int] = {}
        self.error: tuple[int, str] | None = None

    def add(self, told: MemberFigures) -> None:
        self.in_flight += told.in_flight
        self.requests += told.requests
        self.failures += told.failures
        self.kept = self.kept or told.kept
        for total, part in ((self.ttft, told.ttft), (self.duration, told.duration)):
            for bucket, calls in part.items():
                total[bucket] = total.get(bucket, 0) + calls
        if told.error is not None and (self.error is None or told.error_at > self.error[0]):
            self.error = (told.error_at, told.error)


def look(told: Told, *, model: str | None = None, between: Callable[[], None] = lambda: None) -> Overview:
    """Add up what processes have told; of *model* only, if it is named. *between* is called now and then meanwhile."""
    laid: dict[str, tuple[int, ModelFigures]] = {}
    waiting: dict[str, int] = {}
    sums: dict[str, _Sum] = {}
    for process in told.processes.values():
        for of in _of(process, model):
            known = laid.get(of.model)
            if known is None or process.config_read_at > known[0]:  # it has the newer config
                laid[of.model] = (process.config_read_at, of)
            waiting[of.model] = waiting.get(of.model, 0) + of.waiting
            for one in of.upstreams:
                sums.setdefault(key_of(of.model, one.name), _Sum()).add(one)
        between()
    for standings in told.standings:
        for standing in standings:
            if standing.key in sums:
                sums[standing.key].in_flight += standing.in_flight
    now = told.now / _MILLION
    models = [_shown(of, waiting[name], sums, told.conditions, now) for name, (_, of) in sorted(laid.items())]
    return Overview(processes=len(told.processes), models=tuple(models))


def key_of(model: str, upstream: str) -> str:
    """Name an upstream of a model, among processes."""
    return f"{model}\t{upstream}"


def _of(process: ProcessFigures, model: str | None) -> Iterable[ModelFigures]:
    return process.models if model is None else [one for one in process.models if one.model == model]


def _shown(
    of: ModelFigures, waiting: int, sums: Mapping[str, _Sum], conditions: Mapping[str, Condition], now: float
) -> ModelShown:
    keys = [key_of(of.model, one.name) for one in of.upstreams]
    requests = sum(sums[key].requests for key in keys)
    return ModelShown(
        model=of.model,
        strategy=of.strategy,
        fallbacks=tuple(of.fallbacks),
        waiting=waiting,
        requests=requests,
        upstreams=tuple(
            [
                _upstream(one, sums[key], conditions.get(key), requests, now)
                for key, one in zip(keys, of.upstreams, strict=True)
            ]
        ),
    )


def _upstream(one: MemberFigures, its: _Sum, condition: Condition | None, requests: int, now: float) -> UpstreamShown:
    state, why, since, until = _state(one, condition, now)
    return UpstreamShown(
        name=one.name,
        state=state,
        why=why,
        since=since,
        until=until,
        kept=its.kept,
        weight=one.weight,
        max_concurrent=one.max_concurrent,
        in_flight=its.in_flight,
        requests=its.requests,
        failures=its.failures,
        share=round(its.requests / requests, 4) if requests else None,
        ttft=_times(its.ttft),
        duration=_times(its.duration),
        last_error=None if its.error is None else _error(*its.error),
    )


def _state(
    one: MemberFigures, condition: Condition | None, now: float
) -> tuple[Literal["healthy", "trial", "ejected", "paused", "off"], str | None, float | None, float | None]:
    """Tell the state, why it is so, since when and until when."""
    if one.weight == 0:
        return "off", "weight 0", None, None
    if condition is None or not condition.since:
        return "healthy", None, None, None
    since, until = condition.since / _MILLION, condition.until / _MILLION
    if condition.state == "healthy":
        return "healthy", None, since, None
    if now < until:
        return condition.state, condition.why, since, until
    if condition.state == "paused":
        return "healthy", None, until, None
    return "trial", condition.why, until, None


def _times(counts: Mapping[int, int]) -> Times:
    p50, p95 = quantile(counts, 0.5), quantile(counts, 0.95)
    return Times(p50=None if p50 is None else round(p50, 4), p95=None if p95 is None else round(p95, 4))


def _error(at: int, code: str) -> LastError:
    status = code.removeprefix(_HTTP) if code.startswith(_HTTP) else ""
    return LastError(code=code, status=int(status) if status.isdecimal() else None, at=at / _MILLION)


def laid_out(model: ModelShown, zone: ZoneInfo) -> dict[str, Any]:
    """Lay a model out as JSON, times in *zone*."""
    return {
        "model": model.model,
        "strategy": model.strategy,
        "fallbacks": list(model.fallbacks),
        "waiting": model.waiting,
        "requests": model.requests,
        "upstreams": [_upstream_laid_out(one, zone) for one in model.upstreams],
    }


def _upstream_laid_out(one: UpstreamShown, zone: ZoneInfo) -> dict[str, Any]:
    error = one.last_error
    return {
        "name": one.name,
        "state": one.state,
        "why": one.why,
        "since": local(one.since, zone),
        "until": local(one.until, zone),
        "kept": one.kept,
        "weight": one.weight,
        "max_concurrent": one.max_concurrent,
        "in_flight": one.in_flight,
        "requests": one.requests,
        "failures": one.failures,
        "share": one.share,
        "ttft": {"p50": one.ttft.p50, "p95": one.ttft.p95},
        "duration": {"p50": one.duration.p50, "p95": one.duration.p95},
        "last_error": error and {"code": error.code, "status": error.status, "at": local(error.at, zone)},
    }


def local(at: float | None, zone: ZoneInfo) -> str | None:
    """Write a time in *zone*, to the millisecond."""
    return None if at is None else datetime.fromtimestamp(at, UTC).astimezone(zone).isoformat(timespec="milliseconds")
