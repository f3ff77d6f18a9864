"""`llm-one-api deadletter`: records that were set aside, to be looked at, handed over once more, or dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from llm_one_api.books.deliver.replay import CannotReplay, Replayed, replay, replay_refused
from llm_one_api.cli.opening import config_option, ledger_of, plugin_of, settings_of
from llm_one_api.cli.table import cell, table
from llm_one_api.stores.ledger.dead_letters import LEDGER, Letter
from llm_one_api.stores.ledger.ledger import Ledger

SHOWN = 50
"""Letters that a person is shown, if not told otherwise."""


@click.group()
def command() -> None:
    """Look after the records that were set aside.

    A stats plugin's: those that it refused again and again, though it takes others. And those of `ledger`: what the
    ledger itself refused, which no plugin has seen.
    """


def _which(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command say which letters it is about."""
    for add in (
        config_option,
        click.option("--all", "every", is_flag=True, help="All of them."),
        click.option(
            "--id", "ids", type=int, multiple=True, metavar="ID", help="This one; may be given several times."
        ),
        click.argument("name"),
    ):
        function = add(function)
    return function


@command.command("list")
@click.argument("name", required=False)
@config_option
@click.option("--limit", type=click.IntRange(1), help=f"How many at most; {SHOWN} if not said, as JSON all.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the records.")
def list_command(name: str | None, config: Path | None, limit: int | None, as_json: bool) -> None:
    """List the dead letters of the plugin NAME, of `ledger`, or of all."""
    settings = settings_of(config, with_plugins=True)
    with ledger_of(settings) as ledger:
        letters = ledger.dead_letters.list(name, limit=limit or (None if as_json else SHOWN))
        counts = ledger.dead_letters.count()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode([_plain(letter) for letter in letters])).decode())
        return
    if not letters:
        click.echo(f"There are no dead letters{f' of {cell(name)}' if name else ''}.")
        return
    head = ("ID", "OF", "PLACE", "SET ASIDE", "TRIES", "REQUEST", "REASON")
    rows = [
        (
            str(letter.id),
            letter.consumer,
            "-" if letter.seq is None else str(letter.seq),
            letter.at.astimezone(settings.zone).strftime("%Y-%m-%d %H:%M:%S"),
            str(letter.tries),
            letter.request_id,
            letter.reason,
        )
        for letter in letters
    ]
    for line in table(head, rows):
        click.echo(line)
    total = counts.get(name, 0) if name else sum(counts.values())
    if total > len(letters):
        click.echo(f"\n{total - len(letters):,} more: --limit {total} shows all.")


@command.command("replay")
@_which
def replay_command(name: str, ids: Sequence[int], every: bool, config: Path | None) -> None:
    """Hand dead letters to the plugin NAME once more; those of `ledger` to the ledger.

    What is taken is no dead letter any more. What is refused stays, with the new reason; then the exit code is 1.
    """
    settings = settings_of(config, with_plugins=True)
    done: list[Replayed] = []

    def tell(one: Replayed) -> None:
        done.append(one)
        said = "taken" if one.error is None else f"stays: {cell(one.error)}"
        click.echo(f"{one.letter.id}  {cell(one.letter.request_id)}  {said}")

    with ledger_of(settings) as ledger:
        if name == LEDGER:
            replay_refused(ledger, _chosen(ledger, name, ids, every), tell)
        else:
            with plugin_of(settings, name) as plugins:
                try:
                    replay(ledger, name, plugins, _chosen(ledger, name, ids, every), tell)
                except CannotReplay as error:
                    raise click.ClickException(str(error)) from None
    failed = [one for one in done if one.error is not None]
    if done:
        click.echo(f"\n{_number(len(done) - len(failed), 'record')} taken, {len(failed)} refused.")
    raise SystemExit(1 if failed else 0)


@command.command()
@_which
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(name: str, ids: Sequence[int], every: bool, config: Path | None, yes: bool) -> None:
    """Forget dead letters of the plugin NAME, or of `ledger`.

    A plugin's record stays in the ledger; one that the ledger refused is gone for good.
    """
    with ledger_of(settings_of(config, with_plugins=True)) as ledger:
        letters = _chosen(ledger, name, ids, every)
        if not letters:
            return
        if not yes:
            for letter in letters[:SHOWN]:
                click.echo(f"{letter.id}  {cell(letter.request_id)}  {cell(letter.reason)}")
            if len(letters) > SHOWN:
                click.echo(f"and {len(letters) - SHOWN:,} more")
            gone = " They are nowhere else." if name == LEDGER else ""
            click.confirm(f"Drop {_number(len(letters), 'record')} of {cell(name)}?{gone}", abort=True)
        ledger.dead_letters.drop(name, [letter.id for letter in letters])
    for letter in letters:
        click.echo(f"{letter.id}  {cell(letter.request_id)}  dropped")


def _chosen(ledger: Ledger, name: str, ids: Sequence[int], every: bool) -> list[Letter]:
    """Give those that a command is about."""
    if bool(ids) == every:
        raise click.UsageError("Say which: --id ID (several times, if need be), or --all.")
    letters = ledger.dead_letters.list(name, None if every else ids)
    missing = set(ids) - {letter.id for letter in letters}
    if missing:
        named = ", ".join(map(str, sorted(missing)))
        raise click.ClickException(f"{cell(name)} has no dead letter {named}; `llm-one-api deadletter list` shows all")
    if not letters:
        click.echo(f"There are no dead letters of {cell(name)}.")
    return letters


def _plain(letter: Letter) -> dict[str, Any]:
    fields = msgspec.structs.asdict(letter)
    line = fields.pop("line")
    try:
        return {**fields, "record": msgspec.json.decode(line)}
    except msgspec.MsgspecError:
        return {**fields, "record": line}


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
