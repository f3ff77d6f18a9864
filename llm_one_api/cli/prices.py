"""`llm-one-api prices`: which calls have no cost, and giving it to them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from llm_one_api.books.reprice import Repriced, reprice
from llm_one_api.cli import days
from llm_one_api.cli.opening import config_option, ledger_of, settings_of
from llm_one_api.cli.wanted_prices import wanted
from llm_one_api.settings import source
from llm_one_api.stores.ledger.prices import Unpriced
from llm_one_api.values import UsageRecord

_FOR_GOOD = datetime(9999, 1, 1, tzinfo=UTC)


@click.group()
def command() -> None:
    """Look after what calls cost.

    Days are those of the config's `timezone`.
    """


@command.command()
@config_option
@click.option("--since", callback=days.day, metavar="DATE", help="The first day to look at; else all are.")
def missing(config: Path | None, since: date | None) -> None:
    """List the models of calls that have no cost though their usage is known, and what to write into the config."""
    settings = settings_of(config)
    with ledger_of(settings) as ledger:
        found = ledger.prices.missing(None if since is None else days.start(since, settings.zone))
    when = "" if since is None else f" since {since}"
    if not found:
        click.echo(f"Every call whose usage is known has a cost{when}.")
        return
    calls = sum(each.calls for each in found)
    click.echo(
        f"{_number(calls, 'call')}{when} {'has' if calls == 1 else 'have'} no cost, though the usage is known:\n"
    )
    price = settings.pricer().price
    known = {each.newest.request_id for each in found if price(each.newest).cost is not None}
    for each in found:
        click.echo(_described(each, settings.zone))
        if each.newest.request_id in known:
            click.echo("    there is a price for them by now")
    first = min(each.first for each in found).astimezone(settings.zone).date()
    again = f"llm-one-api prices reprice --since {since or first}"
    prices = wanted([each.newest for each in found if each.newest.request_id not in known])
    if prices:
        click.echo(f"\nFill in what they cost, in USD, in {source(config)}:\n\n{prices}")
        click.echo(f"Then: llm-one-api reload, and: {again}")
    elif known:
        click.echo(f"\nTo give it to them: {again}")


@command.command("reprice")
@config_option
@click.option("--since", callback=days.day, metavar="DATE", required=True, help="The first day of the calls to price.")
@click.option("--until", callback=days.day, metavar="DATE", help="The last day; else there is none.")
@click.option("--dry-run", is_flag=True, help="Tell what would become of them, and change nothing.")
@click.option("--all", "every", is_flag=True, help="Price those anew, too, that have a cost already.")
def reprice_command(config: Path | None, since: date, until: date | None, dry_run: bool, every: bool) -> None:
    """Give calls without a cost the price that was valid on their day.

    Safe to run twice, and beside running workers.
    """
    if until is not None and until < since:
        raise click.UsageError("--until is before --since.")
    settings = settings_of(config)
    end = _FOR_GOOD if until is None else days.start(until + timedelta(days=1), settings.zone)
    price = settings.pricer().price
    with ledger_of(settings) as ledger:
        done = reprice(ledger.prices, price, days.start(since, settings.zone), end, priced=every, dry_run=dry_run)
    for line in _said(done, every=every, dry_run=dry_run):
        click.echo(line)


def _described(each: Unpriced, zone: ZoneInfo) -> str:
    """Say which calls they are, and how many."""
    call = each.newest
    days = sorted({moment.astimezone(zone).date() for moment in (each.first, call.at)})
    tokens = f"{each.prompt_tokens:,} input and {each.completion_tokens:,} output tokens"
    lines = [f"  {_name(call)}", f"    {_number(each.calls, 'call')}, {' to '.join(map(str, days))}: {tokens}"]
    if call.usage_faults:
        lines.append(f"    no price helps where the figures cannot be true: {'; '.join(call.usage_faults)}")
    return "\n".join(lines)


def _name(call: UsageRecord) -> str:
    """Name the model by what answered, and by what was asked for where that is something else."""
    names = list(dict.fromkeys(filter(None, (call.response_model, call.upstream_model, call.model))))
    others = f" (asked for as {', '.join(map(_printable, names[1:]))})" if names[1:] else ""
    tier = f", service tier {_printable(call.service_tier)}" if call.service_tier else ""
    place = f", at {_printable(call.upstream)}" if call.upstream else ""
    return f"{_printable(names[0])}{others}{tier}{place}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _said(done: Repriced, *, every: bool, dry_run: bool) -> Iterator[str]:
    would = "would get" if dry_run else "got"
    yield f"{_number(done.priced.calls, 'call')} without a cost {would} one: {_money(done.priced.after)} together."
    if every:
        change = "would change" if dry_run else "changed"
        for model, sums in sorted(done.changed.items()):
            move = f"from {_money(sums.before)} to {_money(sums.after)}"
            yield f"{_number(sums.calls, 'call')} of {_printable(model)} {change} {move}."
        yield f"{_number(done.kept, 'call')} {_keep(done.kept)} the cost that {_they(done.kept)} had."
    if done.overtaken:
        yield f"{_number(done.overtaken, 'call')} got another cost meanwhile, and {_keep(done.overtaken)} it."
    if done.unpriced:
        have = "has" if done.unpriced == 1 else "have"
        yield f"{_number(done.unpriced, 'call')} still {have} none: `llm-one-api prices missing` lists them."


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _keep(count: int) -> str:
    return "keeps" if count == 1 else "keep"


def _they(count: int) -> str:
    return "it" if count == 1 else "they"


def _money(amount: Decimal) -> str:
    text = f"{amount:f}"
    return f"${text.rstrip('0').rstrip('.') if '.' in text else text}"
