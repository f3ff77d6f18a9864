"""`llm-one-api upstreams`: how upstreams do, over all gateway processes, from Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import msgspec
import redis

from llm_one_api.cli.opening import config_option, settings_of, with_redis_of_up
from llm_one_api.cli.table import table
from llm_one_api.settings import Settings, masked
from llm_one_api.stores.upstreams.messages import Told
from llm_one_api.stores.upstreams.overview import WINDOW, ModelShown, Overview, UpstreamShown, laid_out, local, look
from llm_one_api.stores.upstreams.store import UpstreamStore

EVERY = 1.0
"""Seconds from one look to the next of `--watch`."""
_HEAD = (
    "MODEL", "UPSTREAM", "STATE", "UNDER WAY", "CALLS", "FAILED", "SHARE",
    "TTFT P50", "P95", "DURATION P50", "P95", "WEIGHT", "REMARK",
)  # fmt: skip
_DAY = 86400


@click.command()
@config_option
@click.option("--model", metavar="NAME", help="Only this model's.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; with --watch one line each time.")
@click.option("--watch", is_flag=True, help="Again each second, until Ctrl-C.")
def command(config: Path | None, model: str | None, as_json: bool, watch: bool) -> None:
    """Show how upstreams do: who takes calls and who rests, and what they did in the last 15 minutes.

    All gateway processes that use this Redis are added up. Times are in seconds.
    """
    settings = with_redis_of_up(settings_of(config))
    try:
        with closing(UpstreamStore(settings.redis_url, settings.redis.key_prefix, timeout=5)) as store:
            while True:
                _show(store.read(), settings, model, as_json=as_json, watch=watch)
                if not watch:
                    return
                time.sleep(EVERY)
    except (redis.RedisError, OSError) as error:
        raise click.ClickException(
            f"Redis {masked(settings.redis_url)} cannot be asked: {type(error).__name__}"
        ) from None


def _show(told: Told, settings: Settings, model: str | None, *, as_json: bool, watch: bool) -> None:
    overview = look(told, model=model)
    if not overview.models and model is not None and overview.processes and not watch:
        known = ", ".join(one.model for one in look(told).models) or "none"
        raise click.ClickException(f"no gateway knows of a model {model!r}; known are: {known}")
    if as_json:
        page = msgspec.json.encode(
            {
                "at": local(told.now / 10**6, settings.zone),
                "window": WINDOW,
                "processes": overview.processes,
                "models": [laid_out(one, settings.zone) for one in overview.models],
            }
        )
        click.echo((page if watch else msgspec.json.format(page)).decode())
        return
    if watch:
        click.clear()
    for line in _lines(overview, settings, told.now / 10**6):
        click.echo(line)


def _lines(overview: Overview, settings: Settings, now: float) -> Iterator[str]:
    if not overview.processes:
        yield "No gateway has told anything of late: none runs that uses this Redis (redis.url, redis.key_prefix)."
        return
    rows = [_row(model, one, settings, now) for model in overview.models for one in model.upstreams]
    yield from table(_HEAD, rows)
    count = overview.processes
    yield f"\nThe last {WINDOW // 60} minutes of {count} gateway process{'es' if count > 1 else ''}."
    for model in overview.models:
        more = [f"fallbacks {', '.join(model.fallbacks)}"] * bool(model.fallbacks)
        more += [f"{model.waiting} calls wait for room"] * bool(model.waiting)
        if more:
            yield f"{model.model}: {'; '.join(more)}."


def _row(model: ModelShown, one: UpstreamShown, settings: Settings, now: float) -> tuple[str, ...]:
    limit = "" if one.max_concurrent is None else f"/{one.max_concurrent}"
    times = (one.ttft.p50, one.ttft.p95, one.duration.p50, one.duration.p95)
    return (
        model.model,
        one.name,
        "kept" if one.kept and one.state == "healthy" else one.state,
        f"{one.in_flight}{limit}",
        f"{one.requests:,}",
        f"{one.failures:,}",
        "-" if one.share is None else f"{one.share:.1%}",
        *("-" if seconds is None else f"{seconds:.3f}" for seconds in times),
        str(one.weight),
        ", ".join(_remarks(one, settings, now)),
    )


def _remarks(one: UpstreamShown, settings: Settings, now: float) -> Iterator[str]:
    if one.why is not None and one.state != "off":
        yield one.why if one.until is None else f"{one.why} until {_clock(one.until, settings, now)}"
    if one.kept and one.state == "healthy":
        yield "it is the last one, or it would rest"
    if one.last_error is not None:
        yield f"last error {one.last_error.code} at {_clock(one.last_error.at, settings, now)}"


def _clock(at: float, settings: Settings, now: float) -> str:
    """Write a time of day, with its day if that is not near."""
    text = (local(at, settings.zone) or "")[:19]
    return text[11:] if abs(at - now) < _DAY / 2 else text.replace("T", " ")
