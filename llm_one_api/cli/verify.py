"""`llm-one-api verify`: do the books agree, and where not."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from llm_one_api.books.audit.audit import UNCHECKED, Checked, Report, audit
from llm_one_api.books.audit.check import Context, Difference, Findings
from llm_one_api.books.jobs import day_of
from llm_one_api.books.reports.export.remote import target_of
from llm_one_api.books.retention import quarters_since
from llm_one_api.cli import days, embedded_valkey
from llm_one_api.cli.opening import config_option, ledger_of, settings_of, with_redis_of_up
from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.settings import Settings, masked
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from llm_one_api.values import UsageRecord

_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_SHOWN = 20
"""Differences of a check that a person is shown; `--json` has more."""
_LIMITS_SECONDS = 5.0
"""How long the limit store may take to answer."""
_WORDS = {"agrees": "agree", "unchecked": "NOT CHECKED", "elsewhere": "not here"}


@click.command()
@config_option
@click.option(
    "--day", callback=days.day, metavar="DATE", help="A day, in the config's `timezone`; else all that is kept."
)
@click.option("--repair", is_flag=True, help="Put right what can be, and look again.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(config: Path | None, day: date | None, repair: bool, as_json: bool) -> None:
    """Compare the journal, the records, the sums, the quotas, the live statistics and the exports with each other.

    Needs the ledger and, for quotas and live statistics, Redis; no broker, no worker. Safe beside running parts.
    Calls are compared on the machine on whose disk the journal is.

    Exit code: 0 if all agree (after a repair: again), 1 if there is a difference, 2 if something could not be checked.
    """
    settings = settings_of(config)
    try:
        report = _audited(settings, day, repair=repair)
    except click.ClickException:
        raise
    except (Exception, KeyboardInterrupt) as error:
        # Python's own exit code, and click's, would say that there is a difference.
        traceback.print_exc()
        raise CannotCheck(f"the audit broke off: {type(error).__name__}") from None
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(_plain(report, day, settings))).decode())
    else:
        for line in _said(report, day, settings, repair=repair):
            click.echo(line)
    raise SystemExit(report.verdict)


def _audited(settings: Settings, day: date | None, *, repair: bool) -> Report:
    memory, limits = _memory(settings), _limits(settings)
    try:
        with ledger_of(settings, failure=CannotCheck, must_exist=True) as ledger:
            return audit(_context(settings, ledger, memory, limits, day), repair=repair)
    finally:
        if memory is not None:
            memory.cleanup()
        if limits is not None:
            limits.close()


class CannotCheck(click.ClickException):
    """Ends the command with the exit code that says so."""

    exit_code = UNCHECKED


def _context(
    settings: Settings,
    ledger: Ledger,
    memory: MemoryStatsPlugin | None,
    limits: LimitStore | None,
    day: date | None,
) -> Context:
    since, until = _ALWAYS
    if day is not None:
        period = day_of(day, settings.zone)
        since, until = period.start, period.end
    now = datetime.now(UTC)
    return Context(
        ledger=ledger,
        since=since,
        until=until,
        now=now,
        quarters_since=quarters_since(now, settings.ledger.keep_quarters_days),
        memory=memory,
        journal=settings.journal_folder,
        limits=limits,
        exports=partial(target_of, settings.export_to, settings.export.storage_options, masked),
        zone=settings.zone,
        price=_priced(settings),
    )


def _memory(settings: Settings) -> MemoryStatsPlugin | None:
    """Make the plugin; None: it is not on, or counts nothing because `llm-one-api up` does not run."""
    if "memory" not in settings.plugins.stats:
        return None
    found = with_redis_of_up(settings)
    if found is not settings and not embedded_valkey.answers(found.redis_url):
        return None
    return MemoryStatsPlugin(PluginConfig(found.stats.get("memory") or {}, found.plugin_context()))


def _limits(settings: Settings) -> LimitStore | None:
    """Make the limit store; None: there is no quota, or nobody counts because `llm-one-api up` does not run."""
    if not settings.limit_rules().have_quotas:
        return None
    found = with_redis_of_up(settings)
    if found is not settings and not embedded_valkey.answers(found.redis_url):
        return None
    return LimitStore(found.redis_url, found.redis.key_prefix, timeout=_LIMITS_SECONDS)


def _priced(settings: Settings) -> Callable[[UsageRecord], UsageRecord]:
    """Price records; the tables are read when there is one."""
    price: Callable[[UsageRecord], UsageRecord] | None = None

    def priced(record: UsageRecord) -> UsageRecord:
        nonlocal price
        price = price or settings.pricer().price
        return price(record)

    return priced


def _plain(report: Report, day: date | None, settings: Settings) -> dict[str, Any]:
    return {
        "ledger": masked(settings.ledger.url),
        "day": day,
        "since": report.since if day else None,
        "until": report.until if day else None,
        "exit_code": report.verdict,
        "checks": [each.plain() for each in report.checked],
    }


def _said(report: Report, day: date | None, settings: Settings, *, repair: bool) -> Iterator[str]:
    when = f"calls of {day} ({settings.timezone})" if day else "all calls"
    yield f"{masked(settings.ledger.url)}, {when}\n"
    for each in report.checked:
        yield from _told(each, repair=repair)
    if report.verdict == 0:
        yield "\nAll that was compared agrees."
    elif report.verdict == UNCHECKED:
        yield "\nNo difference was found, but not all could be checked."
    elif report.repairable and not repair:
        again = f"llm-one-api verify{f' --day {day}' if day else ''} --repair"
        yield f"\n{_number(report.repairable, 'difference')} can be put right: {again}"
    else:
        yield "\nThere are differences."


def _told(each: Checked, *, repair: bool) -> Iterator[str]:
    """Say in a line what was compared, and below it what is wrong."""
    found = each.last
    word = _word(each)
    counts = ", ".join(f"{count:,} {what}" for what, count in found.compared.items())
    yield f"{each.check.name:<10} {word:<12} {each.check.compares}{f': {counts}' if counts else ''}"
    yield from (f"    {line}" for line in _details(found))
    if found.count and not repair and found.repairable:
        yield f"    --repair {each.check.mends}"
    elif found.count and not found.repairable:
        yield f"    {each.check.mends}"


def _word(each: Checked) -> str:
    found = each.last
    if found.state == "differs":
        return f"DIFFER ({found.count:,})"
    if found.state == "told":
        return "some" if any(found.compared.values()) else "none"
    if found.state == "agrees" and each.left is not None:
        return f"agree again ({each.found.count:,} repaired)"
    return _WORDS[found.state]


def _details(found: Findings) -> Iterator[str]:
    for difference in found.differences[:_SHOWN]:
        yield _difference(difference)
    if found.count > _SHOWN:
        yield f"… and {found.count - _SHOWN:,} more (--json lists them)"
    for line in (found.unchecked, found.elsewhere, *found.notes):
        if line:
            yield _printable(line)


def _difference(difference: Difference) -> str:
    what = " ".join(_value(value) for value in difference.what.values() if value != "")
    says = "; ".join(f"{side}: {_value(value)}" for side, value in difference.says.items())
    return _printable(f"{what}: {says}")


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
    if isinstance(value, Mapping):
        return " ".join(f"{name} {figure}" for name, figure in value.items())
    return str(value)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
