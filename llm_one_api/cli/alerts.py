"""`llm-one-api alerts`: which alerts there are, what was told of them, trying channels out, and silence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from llm_one_api import alerting
from llm_one_api.books.reports.alerts.delivering import TAKEN, Delivering
from llm_one_api.books.reports.alerts.figures import Figures
from llm_one_api.books.reports.alerts.rules import Alerting, Rule
from llm_one_api.books.reports.alerts.sending import Outcome
from llm_one_api.books.reports.alerts.trying import EXAMPLE, event_of_test
from llm_one_api.books.reports.alerts.wording import counted, group_words, local, shown
from llm_one_api.cli import alerts_shown
from llm_one_api.cli.opening import config_option, ledger_of, settings_of, with_redis_of_up
from llm_one_api.cli.table import cell
from llm_one_api.settings import Settings
from llm_one_api.stores.ledger.ledger import Ledger

_LENGTH = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=366)
_SHOWN = 20


@click.group()
def command() -> None:
    """Look after alerts: rules over figures, which the config's section `alerts` lays down."""


@command.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_command(config: Path | None, as_json: bool) -> None:
    """List the rules with their alerts, and the channels."""
    settings = settings_of(config)
    what = settings.alerts.alerting()
    with ledger_of(settings) as ledger:
        now = ledger.alerts.now()
        known, silences, at = ledger.alerts.all(), ledger.alerts.silences(), ledger.alerts.checked_at()
    page = alerts_shown.Page(what=what, known=known, silences=silences, now=now, checked_at=at, zone=settings.zone)
    if as_json:
        _print_json(page.laid_out())
        return
    for line in page.lines():
        click.echo(line)


@command.command()
@click.argument("names", nargs=-1, metavar="[RULE|CHANNEL]...")
@config_option
def test(names: tuple[str, ...], config: Path | None) -> None:
    """Send a test: to the channels of RULE, with its figures as they are now; to CHANNEL; or to all channels.

    Exit code 1: a channel did not take it.
    """
    settings = with_redis_of_up(settings_of(config))
    what = settings.alerts.alerting()
    rules = {rule.name: rule for rule in what.rules}
    _check(names, {*rules, *what.channels}, "rule or channel")
    if not names and not what.channels:
        raise click.ClickException("there is no channel (alerts.channels)")
    failed = False
    with ledger_of(settings) as ledger:
        for name in dict.fromkeys(names or what.channels):
            if name in rules:
                failed |= _try_rule(settings, ledger, what, rules[name])
            else:
                failed |= _send(settings, ledger, what, EXAMPLE, None, (name,))
    raise SystemExit(1 if failed else 0)


@command.command()
@click.argument("rules", nargs=-1, metavar="RULE...")
@config_option
@click.option("--all", "every", is_flag=True, help="All rules.")
@click.option("--for", "length", required=True, metavar="LENGTH", help="For how long, such as 90m, 2h or 3d.")
@click.option("--reason", default="", help="Why, for others who look.")
def silence(rules: tuple[str, ...], config: Path | None, every: bool, length: str, reason: str) -> None:
    """Tell nobody of RULE for a while. It is looked at all the same, and listed.

    What began meanwhile and still goes on is told when the silence is over.
    """
    settings = settings_of(config)
    span = _length(length)
    with ledger_of(settings) as ledger:
        until = datetime.now(UTC) + span
        for name in _chosen(rules, settings, every):
            ledger.alerts.silence(name, until, reason)
            click.echo(f"{name} is silent until {local(until, settings.zone)}.")


@command.command()
@click.argument("rules", nargs=-1, metavar="RULE...")
@config_option
@click.option("--all", "every", is_flag=True, help="All rules.")
def unsilence(rules: tuple[str, ...], config: Path | None, every: bool) -> None:
    """Tell of RULE again."""
    settings = settings_of(config)
    with ledger_of(settings) as ledger:
        for name in _chosen(rules, settings, every):
            was = ledger.alerts.unsilence(name)
            click.echo(f"{name} is told again." if was else f"{name} was not silent.")


@command.command()
@config_option
@click.option("--rule", metavar="NAME", help="Of this rule only.")
@click.option("--limit", type=click.IntRange(1, 10000), default=_SHOWN, show_default=True, help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def history(config: Path | None, rule: str | None, limit: int, as_json: bool) -> None:
    """List what happened, the newest first, and who was told."""
    settings = settings_of(config)
    with ledger_of(settings) as ledger:
        events = ledger.alerts.mail.history(limit, rule)
    if as_json:
        _print_json([alerts_shown.event(each, settings.zone) for each in events])
        return
    if not events:
        click.echo(f"Nothing has happened{f' of {cell(rule)}' if rule else ''}.")
    for line in alerts_shown.history(events, settings.zone):
        click.echo(line)


def _try_rule(settings: Settings, ledger: Ledger, what: Alerting, rule: Rule) -> bool:
    """Say how a rule stands just now, and send that; tell whether a channel did not take it."""
    look_at = alerting.looking(settings, ledger, settings.limit_rules(), ledger.alerts.now())
    figures = look_at.of(rule)
    for line in _figures(rule, figures):
        click.echo(line)
    if not rule.channels:
        click.echo("It has no channel: what happens is logged, and listed.")
    return _send(settings, ledger, what, rule, figures, rule.channels)


def _figures(rule: Rule, figures: Figures | None) -> Iterator[str]:
    yield f"{rule.name}: {rule.metric} above {shown(rule.metric, rule.above)}"
    if figures is None:
        yield "  its figure cannot be known just now"
        return
    busiest = sorted(figures.items(), key=lambda one: (one[1].value is not None, one[1].value or 0), reverse=True)
    for group, figure in busiest[:_SHOWN]:
        of = group_words(msgspec.json.decode(group))
        value = "too few calls" if figure.value is None else shown(rule.metric, figure.value)
        calls = "" if figure.samples is None else f" ({counted(figure.samples)})"
        yield f"  {f'{of}: ' if of else ''}{value}{calls}"
    if len(figures) > _SHOWN:
        yield f"  and {len(figures) - _SHOWN:,} more"
    if not figures:
        yield "  there is none"


def _send(
    settings: Settings, ledger: Ledger, what: Alerting, rule: Rule, figures: Figures | None, channels: Sequence[str]
) -> bool:
    if not channels:
        return False
    event = event_of_test(rule, figures, ledger.alerts.now(), settings.zone, channels)
    uid = ledger.alerts.add(event)
    delivering = Delivering(ledger.alerts.mail, what.channels, settings.zone)
    failed = False
    found = {delivery.channel: delivery for delivery in ledger.alerts.mail.of(uid)}
    for channel in channels:
        mine = found.get(channel)
        outcome = Outcome(ok=False, error=TAKEN) if mine is None else delivering.try_once(mine)
        failed |= not outcome.ok
        said = "sent" if outcome.ok else f"NOT SENT: {outcome.error}"
        click.echo(f"{channel} ({what.channels[channel].service}): {said}")
    return failed


def _chosen(names: Sequence[str], settings: Settings, every: bool) -> list[str]:
    known = list(settings.alerts.rules)
    if bool(names) == every:
        raise click.UsageError("Say which: one or more rules, or --all.")
    _check(names, known, "rule")
    return known if every else list(dict.fromkeys(names))


def _check(names: Sequence[str], known: Sequence[str] | set[str], what: str) -> None:
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise click.ClickException(f"there is no {what} {cell(name)!r}; there are: {there}")


def _length(text: str) -> timedelta:
    match = _LENGTH.fullmatch(text.strip())
    span = timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else timedelta()
    if not timedelta() < span <= _LONGEST:
        raise click.UsageError("--for must be a length of time, such as 90m, 2h or 3d, of at most 366d.")
    return span


def _print_json(page: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(page)).decode())
