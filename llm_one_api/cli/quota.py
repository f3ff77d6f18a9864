"""`llm-one-api quota`: how limits stand, and letting somebody go on."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
import redis

from llm_one_api import logs
from llm_one_api.books.quotas.check import QuotaCheck
from llm_one_api.cli import scopes
from llm_one_api.cli.opening import config_option, ledger_of, settings_of, with_redis_of_up
from llm_one_api.cli.table import cell, table
from llm_one_api.limits import windows
from llm_one_api.limits.money import plain
from llm_one_api.limits.rules import PERIODS, UNITS, Kind, LimitSet, Period, Rules, Unit
from llm_one_api.limits.windows import Calendar
from llm_one_api.settings import Settings, masked
from llm_one_api.stores.limits.messages import Boost
from llm_one_api.stores.limits.overview import Limit, Sets, laid_out, local, look
from llm_one_api.stores.limits.store import LimitStore

SHOWN = 50
"""Scopes that a person is shown, if not told otherwise."""
_AT_ONCE = 200
"""Scopes that Redis is asked about at a time: it does nothing else meanwhile."""
_UNITS = {"tokens": "tokens", "requests": "requests", "cost": "USD"}
_KEPT = (
    "It is kept in the ledger, but Redis does not answer: it takes effect with the next quota check, "
    "each minute while a worker and beat run."
)

period_argument = click.argument("period", type=click.Choice(PERIODS))


@click.group()
def command() -> None:
    """Look after limits and quotas.

    SCOPE says whose they are: all, or key:FINGERPRINT, user:NAME, group:NAME or model:NAME. Days and months are
    those of the config's `timezone`.
    """


@command.command()
@config_option
@click.option("--user", "users", multiple=True, metavar="NAME", help="Of this user; may be given several times.")
@click.option("--key", "keys", multiple=True, metavar="FINGERPRINT", help="Of this key.")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="Of this group.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Of this model.")
@click.option("--all", "everyone", is_flag=True, help="Of all calls together.")
@click.option("--limit", type=click.IntRange(1), help=f"How many scopes at most; {SHOWN} if not said, as JSON all.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(
    config: Path | None,
    users: Sequence[str],
    keys: Sequence[str],
    groups: Sequence[str],
    models: Sequence[str],
    everyone: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show each limit, what is used, what calls under way have reserved, and what is left.

    Without a name: those of all that the config names or that have used something in this day or month.
    """
    settings = with_redis_of_up(settings_of(config))
    rules = settings.limit_rules()
    kinds = [("user", users), ("key", keys), ("group", groups), ("model", models)]
    asked = [f"{kind}:{name}" for kind, names in kinds for name in names] + ["all"] * everyone
    now, calendar = time.time(), Calendar(settings.zone)
    with _store(settings) as store:
        named = [scopes.set_of(settings, rules, *scopes.split(text)) for text in asked]
        sets: Sets = named if asked else _all_sets(rules, store, {calendar.at(period, now).label for period in PERIODS})
        some = sets[: limit or (None if as_json else SHOWN)]
        parts = [look(store, some[n : n + _AT_ONCE], calendar, now) for n in range(0, len(some), _AT_ONCE)]
    found = [one for part in parts for one in part.limits]
    whole = all(part.whole for part in parts)
    if as_json:
        told = {"counters_whole": whole, "limits": [laid_out(one, settings.zone, now) for one in found]}
        click.echo(msgspec.json.format(msgspec.json.encode(told)).decode())
        return
    if not sets:
        click.echo("No limits are set (limits, rate_limit).")
        return
    for line in _lines(found, settings):
        click.echo(line)
    if len(sets) > len(some):
        click.echo(f"\n{len(sets) - len(some):,} more: --limit {len(sets)} shows all.")
    if not whole:
        click.echo("Quotas are just being counted anew from the ledger: what is used is more than this.", err=True)


@command.command()
@click.argument("scope")
@period_argument
@click.argument("unit", type=click.Choice(UNITS))
@click.argument("amount")
@config_option
@click.option("--until", metavar="TIME", help="Such as 2026-11-24T18:00 in the config's zone, or a day, to its end.")
@click.option("--for", "span", metavar="SPAN", help="Such as 90s, 30m, 2h or 7d.")
def boost(
    scope: str, period: Period, unit: Unit, amount: str, config: Path | None, until: str | None, span: str | None
) -> None:
    """Add AMOUNT to a quota for a time, in place of what was added before; 0: add nothing any more.

    AMOUNT is in tokens, requests, or for cost in USD.
    """
    settings = with_redis_of_up(settings_of(config))
    number = scopes.amount(amount, unit)
    now = datetime.now(UTC)
    ends = now if not number and until is span is None else scopes.end(until, span, settings.zone, now)
    whose, limits = scopes.set_of(settings, settings.limit_rules(), *scopes.split(scope))
    limit = _quota(whose, limits, period, unit)
    name = f"{whose}:{period}:{unit}"
    with ledger_of(settings, must_exist=True) as ledger:
        if number:
            ledger.quotas.boost(whose, period, unit, number, ends)
        elif not ledger.quotas.end_boost(whose, period, unit):
            raise click.ClickException(f"nothing is added to the quota of {unit} {_a(period)} of {whose}")
    if number:
        click.echo(
            f"{cell(whose)} may use {plain(limit + number, unit)} {_UNITS[unit]} instead of {plain(limit, unit)} "
            f"{_a(period)}, until {local(ends.timestamp(), settings.zone)}."
        )
    else:
        click.echo(f"{cell(whose)} may use {plain(limit, unit)} {_UNITS[unit]} {_a(period)} again, and no more.")
    with _in_effect(settings) as store:
        store.set_boost(name, Boost(number, round(ends.timestamp() * 1000)))


@command.command()
@click.argument("scope")
@period_argument
@config_option
@click.option("--unit", "units", type=click.Choice(UNITS), multiple=True, help="Only these; else all.")
@click.option("--reason", default="", help="Kept with it in the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(scope: str, period: Period, config: Path | None, units: Sequence[Unit], reason: str, yes: bool) -> None:
    """Take off a quota what is used of it in this day, this month, or ever: it begins anew.

    Statistics and costs stay as they are. What calls under way have reserved stays, and what is not in the ledger yet.
    """
    settings = with_redis_of_up(settings_of(config))
    rules = settings.limit_rules()
    whose, limits = scopes.set_of(settings, rules, *scopes.split(scope))
    limited = [unit for unit in UNITS if getattr(limits.amounts(period), unit) is not None]
    if not limited:
        raise click.ClickException(_no_quota(whose, limits, period, None))
    chosen = units or UNITS
    window = windows.name(whose, period, Calendar(settings.zone).at(period, time.time()).label)
    with ledger_of(settings, must_exist=True) as ledger:
        booked = ledger.quotas.booked([window])[window]
        used = ", ".join(
            f"{plain(n, unit)} {_UNITS[unit]}" for unit, n in zip(UNITS, booked, strict=True) if unit in chosen
        )
        if not yes:
            click.confirm(f"Take {used} off {cell(window)}?", abort=True)
        off = ledger.quotas.reset(window, reason, chosen)
        taken = ", ".join(f"{plain(n, u)} {_UNITS[u]}" for u, n in zip(UNITS, off, strict=True) if u in chosen)
        click.echo(f"{cell(window)}: {taken} taken off.")
        logs.configure("error", settings.logging.format)  # that the counters differ is what was asked for
        with _in_effect(settings) as store:
            QuotaCheck(ledger.quotas, store, rules, settings.zone).reconcile()


@contextmanager
def _store(settings: Settings) -> Iterator[LimitStore]:
    """Open the limit store for a block; that it is away ends the command, in words."""
    url = settings.redis_url
    try:
        with closing(LimitStore(url, settings.redis.key_prefix, lease=settings.quota.lease, timeout=5)) as store:
            yield store
    except (redis.RedisError, OSError) as error:
        raise click.ClickException(f"Redis {masked(url)} cannot be asked: {type(error).__name__}") from None


@contextmanager
def _in_effect(settings: Settings) -> Iterator[LimitStore]:
    """Open the limit store for a block, to have it know what the ledger has; if it is away, say when it will."""
    try:
        with _store(settings) as store:
            yield store
    except click.ClickException as error:
        click.echo(f"Error: {error.message}\n{_KEPT}", err=True)
        raise SystemExit(1) from None


def _all_sets(rules: Rules, store: LimitStore, labels: Collection[str]) -> Sets:
    """Give the sets of all that the config names, and of all that have used something in windows with these labels."""
    found: dict[tuple[int, str], tuple[str, LimitSet]] = {}
    seen = {scope for scope, _, label in map(windows.parts, store.all_windows()) if label in labels}
    named = {f"{kind}:{name}" for kind, sets in rules.named.items() for name in sets}
    for whose in {*seen, *named, "all"}:
        text, _, name = whose.partition(":")
        kind: Kind
        for kind in scopes.KINDS:
            one = rules.named.get(kind, {}).get(name) or rules.each.get(kind)
            if kind == text and one is not None and (one.has_rates or one.has_quotas):
                found[scopes.KINDS.index(kind), name] = (whose, one)
    return [found[place] for place in sorted(found)]


def _lines(limits: Sequence[Limit], settings: Settings) -> Iterator[str]:
    head = ("SCOPE", "PER", "UNIT", "LIMIT", "USED", "RESERVED", "LEFT", "RESETS", "REMARK")
    yield from table(head, [_row(limit, settings) for limit in limits])


def _row(limit: Limit, settings: Settings) -> tuple[str, ...]:
    numbers = [plain(n, limit.kind) for n in (limit.limit, limit.used, limit.reserved, limit.remaining)]
    is_rate = limit.period in {"minute", None}
    remarks: list[str] = [] if limit.action == "reject" else [limit.action]
    if limit.boost is not None:
        until = local(limit.boost.until_ms / 1000, settings.zone)
        remarks.append(f"boosted by {plain(limit.boost.amount, limit.kind)} until {until}")
    return (
        limit.scope,
        limit.period or "-",
        {"cost": "USD", "concurrent": "at a time"}.get(limit.kind, limit.kind),
        *(numbers if not is_rate else [*numbers[:2], "-", numbers[3]]),
        "-" if is_rate else "never" if limit.resets_at is None else local(limit.resets_at, settings.zone),
        ", ".join(remarks),
    )


def _quota(whose: str, limits: LimitSet, period: Period, unit: Unit) -> int:
    """Give a quota. Raises ClickException if there is none."""
    limit = limits.amounts(period).counted(unit)
    if limit is None:
        raise click.ClickException(_no_quota(whose, limits, period, unit))
    return limit


def _no_quota(whose: str, limits: LimitSet, period: Period, unit: Unit | None) -> str:
    have = [f"{u} {_a(p)}" for p in PERIODS for u in UNITS if getattr(limits.amounts(p), u) is not None]
    return f"{whose} has no quota of {unit or 'anything'} {_a(period)}; it has: {', '.join(have) or 'none at all'}"


def _a(period: Period) -> str:
    return {"day": "a day", "month": "a month", "total": "in all"}[period]
