"""`llm-one-api jobs`: what came of the periodic jobs, and doing one by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
import redis

from llm_one_api.books.jobs import Done, Job, Period, Planned, by_hand, noted, period_named
from llm_one_api.books.overdue import is_overdue
from llm_one_api.books.reports.alerts.rules import Alerting
from llm_one_api.cli.opening import config_option, ledger_of, settings_of, with_redis_of_up
from llm_one_api.cli.table import cell, table
from llm_one_api.limits.rules import Rules
from llm_one_api.periodic import each_minute, jobs
from llm_one_api.settings import Settings, masked, source
from llm_one_api.stores.ledger.jobs import LastRun
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.ledger.words import reason
from llm_one_api.stores.limits import LimitStore
from llm_one_api.timetable import EXPORT, EXPORT_LATE, QUOTA_CHECK, planned

_PATIENCE = 5.0
"""Seconds for an answer of Redis."""
_ONLY_IF = {
    EXPORT: "export.enabled is false; `llm-one-api export` writes a day all the same",
    EXPORT_LATE: "export.enabled is false",
    QUOTA_CHECK: "there are no quotas",
}
"""Jobs that there are only where the config says so."""
_HEAD = ("JOB", "EVERY", "PERIOD", "FINISHED", "TOOK", "WENT", "RESULT")


class Means:
    """What jobs are done with, for one command."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        """Connect to nothing yet."""
        self.ledger = ledger
        self.patient_limits = LimitStore(settings.redis_url, settings.redis.key_prefix, timeout=_PATIENCE)
        self._settings = settings

    def limit_rules(self) -> Rules:
        """Tell which limits there are."""
        return self._settings.limit_rules()

    def alerting(self) -> Alerting:
        """Tell which alerts there are."""
        return self._settings.alerts.alerting()


@click.group()
def command() -> None:
    """Look after the periodic jobs, which workers do when beat strikes."""


@command.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(config: Path | None, as_json: bool) -> None:
    """Show each job, when it was last done, how long that took, and what came of it."""
    settings = settings_of(config)
    with ledger_of(settings, must_exist=True) as ledger:
        runs, now = ledger.job_runs, ledger.job_runs.now()
        changed = _changed_at(config)
        found = [
            (each, runs.last(each.name), is_overdue(runs, each, settings.zone, now, changed=changed))
            for each in planned(settings)
        ]
    if as_json:
        told = [_laid_out(each, last, settings, overdue=overdue) for each, last, overdue in found]
        click.echo(msgspec.json.format(msgspec.json.encode(told)).decode())
        return
    for line in table(_HEAD, [_row(each, last, settings, overdue=overdue) for each, last, overdue in found]):
        click.echo(line)


@command.command()
@click.argument("name")
@config_option
@click.option(
    "--period", metavar="PERIOD", help="A day (2026-11-24), or an hour (2026-11-24T16), in the config's zone."
)
@click.option("--again", is_flag=True, help="Also if it was done before, or failed and waits.")
def run(name: str, config: Path | None, period: str | None, again: bool) -> None:
    """Do the job NAME now, for the newest period that is over or for PERIOD.

    It is claimed as workers claim it, so it is done once, whoever does it.
    """
    settings = with_redis_of_up(settings_of(config, with_plugins=True))
    with ledger_of(settings, must_exist=True) as ledger:
        means = Means(settings, ledger)
        periodic = {job.name: job for job in jobs(settings, means)}
        minutely = each_minute(settings, means)
        if name not in {**periodic, **minutely}:
            why = f" ({_ONLY_IF[name]})" if name in _ONLY_IF else ""
            raise click.ClickException(f"no job {name!r}{why}; there are: {', '.join([*periodic, *minutely])}")
        with _told(settings):
            if name in periodic:
                job = periodic[name]
                done = _run(job, _period(job, period, settings, ledger.job_runs.now()), ledger, settings, again=again)
            elif period:
                raise click.UsageError(f"{name} is done each minute and has no periods.")
            else:
                done = noted(ledger.job_runs, name, minutely[name])
    click.echo(_written(done.result))
    if not done.ok:
        raise click.ClickException(f"{name} did not go well; what it found is told above")


def _run(job: Job, period: Period, ledger: Ledger, settings: Settings, *, again: bool) -> Done:
    runs = ledger.job_runs
    if again:
        runs.reopen(job.name, period.start)
    done = by_hand(runs, job, period, lambda error: reason(error, settings.ledger.url))
    if done is None:
        before = runs.of(job.name, period.start)
        when = _local(period.start, settings)
        if before is None:
            raise click.ClickException(
                f"somebody is at {job.name} of {when} just now, or it failed and waits to be tried again: "
                "--again does that now, if nobody is at it"
            )
        finished = _local(before.finished_at, settings)
        raise click.ClickException(f"{job.name} of {when} was done at {finished}; --again does it once more")
    return done


def _changed_at(config: Path | None) -> datetime | None:
    """Tell when the config was changed, which may have added a job; None: it is no file."""
    try:
        return datetime.fromtimestamp(Path(source(config)).stat().st_mtime, UTC)
    except OSError:
        return None


def _period(job: Job, text: str | None, settings: Settings, now: datetime) -> Period:
    try:
        return period_named(job.every, settings.zone, text, now)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--period") from None


@contextmanager
def _told(settings: Settings) -> Iterator[None]:
    """Say in words that Redis is away."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        url = masked(settings.redis_url)
        raise click.ClickException(f"Redis {url} cannot be asked: {type(error).__name__}") from None


def _row(each: Planned, last: LastRun | None, settings: Settings, *, overdue: bool) -> tuple[str, ...]:
    went = "overdue" if overdue else "" if last is None else "well" if last.ok else "badly"
    if last is None:
        return each.name, each.every, "never", "", "", went, ""
    period = _period_text(each, last, settings)
    took = "" if last.seconds is None else f"{last.seconds:.1f} s"
    return each.name, each.every, period, _local(last.finished_at, settings), took, went, cell(_written(last.result))


def _laid_out(each: Planned, last: LastRun | None, settings: Settings, *, overdue: bool) -> dict[str, Any]:
    return {
        "job": each.name,
        "every": each.every,
        "overdue": overdue,
        "last": last
        and {
            "period": _local(last.period, settings),
            "started_at": last.started_at and _local(last.started_at, settings),
            "finished_at": _local(last.finished_at, settings),
            "seconds": last.seconds,
            "ok": last.ok,
            "result": last.result,
        },
    }


def _period_text(each: Planned, last: LastRun, settings: Settings) -> str:
    if each.every == "minute":
        return ""
    local = _local(last.period, settings)
    return local[:10] if each.every == "day" else local[:13]


def _local(at: datetime, settings: Settings) -> str:
    return at.astimezone(settings.zone).isoformat(timespec="seconds")


def _written(result: Mapping[str, Any]) -> str:
    return msgspec.json.encode(result).decode()
