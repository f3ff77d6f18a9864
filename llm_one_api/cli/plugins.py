"""`llm-one-api plugins`: how far the stats plugins are, and setting one back."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import click
import msgspec

from llm_one_api.books.deliver.replay import CannotReplay, rewind
from llm_one_api.cli import days
from llm_one_api.cli.opening import config_option, ledger_of, plugin_of, settings_of
from llm_one_api.cli.table import cell, table
from llm_one_api.settings import Settings
from llm_one_api.stores.ledger.cursors import Position
from llm_one_api.stores.ledger.dead_letters import LEDGER
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import Value


class Status(Value, frozen=True, kw_only=True):
    """How a stats plugin fares."""

    plugin: str
    on: bool
    """Whether it is in the config."""
    place: int
    """The last record that it has had."""
    behind: int
    """Records that it has not had."""
    failures: int
    """How often it failed since it last got on."""
    retry_in: float
    """Seconds until it is tried again; 0: at any moment."""
    dead_letters: int
    error: str | None
    """Why it failed last, if it has not got on since."""
    seen_at: datetime | None
    """When it was looked after last; None: never."""


@click.group()
def command() -> None:
    """Look after the stats plugins."""


@command.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(config: Path | None, as_json: bool) -> None:
    """Tell how far each stats plugin is, and why one does not get on."""
    settings = settings_of(config, with_plugins=True)
    with ledger_of(settings) as ledger:
        found = _statuses(ledger, settings)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    if not found:
        click.echo("No stats plugin is on (plugins.stats).")
        return
    head = ("PLUGIN", "PLACE", "BEHIND", "FAILURES", "NEXT TRY", "DEAD LETTERS", "STATE")
    rows = [
        (
            each.plugin,
            str(each.place),
            str(each.behind),
            str(each.failures),
            f"in {each.retry_in:.0f} s" if each.retry_in else "-",
            str(each.dead_letters),
            _remark(each, settings),
        )
        for each in found
    ]
    for line in table(head, rows):
        click.echo(line)


@command.command()
@click.argument("name")
@config_option
@click.option(
    "--since", callback=days.day, required=True, metavar="DATE", help="The first day, in the config's `timezone`."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay(name: str, config: Path | None, since: date, yes: bool) -> None:
    """Hand all records since a day to the plugin NAME again.

    It gets them from the workers, in the ledger's order. `memory` forgets what it has and counts from there; others
    see them a second time, and go by `request_id`.
    """
    settings = settings_of(config, with_plugins=True)
    with ledger_of(settings) as ledger, plugin_of(settings, name) as plugins:
        seq = ledger.cursors.before(days.start(since, settings.zone))
        if seq is None:
            click.echo(f"There are no calls since {since}.")
            return
        position = ledger.cursors.position(name)
        again = max(0, (position.seq if position else 0) - seq)
        if again and not yes:
            click.confirm(f"{_number(again)} since {since} will go to {cell(name)} again. Go on?", abort=True)
        try:
            done = rewind(ledger, name, plugins, seq)
        except CannotReplay as error:
            raise click.ClickException(str(error)) from None
    if done.now == done.before:
        click.echo(f"{cell(name)} has not had the calls since {since} yet: they come anyway.")
    else:
        click.echo(f"{cell(name)} goes on after record {done.now}: {_number(done.before - done.now)} come again.")


def _statuses(ledger: Ledger, settings: Settings) -> list[Status]:
    """Give those that are on, then those that only the ledger knows."""
    positions = {each.consumer: each for each in ledger.cursors.positions()}
    letters, last = ledger.dead_letters.count(), ledger.last_seq()
    letters.pop(LEDGER, None)
    on = settings.plugins.stats
    others = sorted({*positions, *letters} - {*on})
    return [_status(name, positions.get(name), letters.get(name, 0), last, on=name in on) for name in [*on, *others]]


def _status(name: str, found: Position | None, letters: int, last: int, *, on: bool) -> Status:
    return Status(
        plugin=name,
        on=on,
        place=found.seq if found else 0,
        behind=max(0, last - (found.seq if found else 0)),
        failures=found.failures if found else 0,
        retry_in=round(found.retry_in, 1) if found else 0.0,
        dead_letters=letters,
        error=found.error if found else None,
        seen_at=datetime.fromtimestamp(found.seen_at, UTC) if found else None,
    )


def _remark(each: Status, settings: Settings) -> str:
    if not each.on:
        seen = "" if each.seen_at is None else f" since {each.seen_at.astimezone(settings.zone):%Y-%m-%d}"
        return f"not on{seen}"
    if each.seen_at is None:
        return "not begun"
    return each.error or ("failing" if each.failures else "fine")


def _number(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"
