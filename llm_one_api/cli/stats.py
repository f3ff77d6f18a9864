"""`llm-one-api stats`: what the books say, in the terminal, as JSON or as CSV."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import redis
from rich.console import Console, RenderableType
from rich.live import Live

from llm_one_api.cli.opening import config_option, ledger_of, settings_of, with_redis_of_up
from llm_one_api.cli.statistics import moment, showing
from llm_one_api.cli.statistics.showing import Canvas
from llm_one_api.reporting import answering, page, present
from llm_one_api.reporting.asking import Asking
from llm_one_api.reporting.reading import NotUnderstood
from llm_one_api.settings import Settings, masked
from llm_one_api.stores.ledger.analysis import Analysis, NotAnswerable
from llm_one_api.stores.upstreams.store import UpstreamStore

PAGES = (*answering.PAGES, "live")
EVERY, EVERY_SECOND = 5.0, 1.0
"""Seconds from one look of `--watch` to the next: at the ledger, and at the present moment."""
PIPED_WIDTH = 400
"""Columns where there is no terminal: so many that nothing is cut."""
_PARAMETER = re.compile(
    "`(from|to|tz|bucket|group_by|by|limit|before|model|user|key|endpoint|stream|upstream|outcome)`"
)
"""Where a fault names a parameter, which here is an option."""


class Look(NamedTuple):
    """One look, ready to be shown in either way."""

    write: Callable[[bool], bytes]
    """Writes it as JSON or, with True, as CSV."""
    draw: Callable[[Canvas], RenderableType]


_repeated: dict[str, Any] = {"multiple": True, "metavar": "NAME"}


@click.command()
@click.argument("page_name", metavar="[PAGE]", type=click.Choice(PAGES), default="usage")
@config_option
@click.option(
    "--from", "since", metavar="TIME", help="The begin: a day, or a time; else a day ago (peak-hours: 28 days)."
)
@click.option("--to", "until", metavar="TIME", help="The end; a day means to its end. Else now.")
@click.option("--tz", metavar="ZONE", help="The time zone; else the config's.")
@click.option("--bucket", metavar="SIZE", help="15m, hour, day or month.")
@click.option("--group-by", metavar="WHAT,…", help="model, user, key, endpoint, stream, upstream, outcome.")
@click.option("--by", metavar="WHAT", help="top: requests, tokens, cost or errors; usage: the same as --group-by.")
@click.option("--limit", metavar="N", help="How many lines of top and requests.")
@click.option("--before", metavar="PLACE", help="requests: go on behind here, as the page before says.")
@click.option("--model", **_repeated, help="Only this model's calls; may be repeated, as the next ones.")
@click.option("--user", **_repeated)
@click.option("--key", multiple=True, metavar="FINGERPRINT")
@click.option("--endpoint", **_repeated)
@click.option("--stream", multiple=True, metavar="true|false")
@click.option("--upstream", **_repeated)
@click.option("--outcome", **_repeated)
@click.option("--json", "as_json", is_flag=True, help="As `GET /v1/stats/…` has it; with --watch one line each time.")
@click.option("--csv", "as_csv", is_flag=True, help="For a spreadsheet.")
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
def command(
    page_name: str, config: Path | None, since: str | None, until: str | None, by: str | None, group_by: str | None,
    as_json: bool, as_csv: bool, watch: bool, **more: str | Sequence[str] | None,
) -> None:  # fmt: skip
    """Show usage (the default), who is on top, peak-hours, single requests, or what is live, from the ledger.

    Days and hours are those of the config's `timezone`.
    """  # fmt: skip
    if as_json and as_csv:
        raise click.UsageError("Say --json or --csv, not both.")
    if page_name == "usage" and group_by is None:
        group_by, by = by, None
    given = _given({**more, "from": since, "to": until, "by": by, "group_by": group_by})
    settings = with_redis_of_up(settings_of(config))
    look = _looking_at(page_name, given, settings)
    every = EVERY_SECOND if page_name == "live" else EVERY
    try:
        with look as looked:
            if as_json or as_csv:
                _write(looked, as_csv=as_csv, watch=watch, every=every)
            else:
                _draw(looked, watch=watch, every=every)
    except NotUnderstood as error:
        raise click.UsageError(_PARAMETER.sub(lambda found: f"--{found[1].replace('_', '-')}", str(error))) from None
    except KeyboardInterrupt:
        if not watch:  # which has no other end
            raise
    except NotAnswerable as error:
        raise click.ClickException(f"That cannot be told: {error}.") from None


def _given(options: Mapping[str, str | Sequence[str] | None]) -> dict[str, Sequence[str]]:
    """Give the options as a query would."""
    values = {name: [value] if isinstance(value, str) else list(value or ()) for name, value in options.items()}
    return {name: found for name, found in values.items() if found}


@contextmanager
def _looking_at(page_name: str, given: Mapping[str, Sequence[str]], settings: Settings) -> Iterator[Callable[[], Look]]:
    """Open what the page is read from; gives what looks once."""
    if page_name == "live":
        with _live_of(settings) as store:
            yield lambda: _live(Asking(given, settings.zone), store)
        return
    with ledger_of(settings, must_exist=True) as ledger:
        yield lambda: _of_books(page_name, Asking(given, settings.zone), ledger.analysis)


@contextmanager
def _live_of(settings: Settings) -> Iterator[UpstreamStore]:
    try:
        with closing(UpstreamStore(settings.redis_url, settings.redis.key_prefix, timeout=5)) as store:
            yield store
    except (redis.RedisError, OSError) as error:
        raise click.ClickException(
            f"Redis {masked(settings.redis_url)} cannot be asked: {type(error).__name__}"
        ) from None


def _of_books(page_name: str, asking: Asking, analysis: Analysis) -> Look:
    kind = answering.PAGES[page_name]
    asked = kind.read(asking)
    return Look(
        lambda as_csv: page.written(kind.answer(analysis, asked, "all"), as_csv=as_csv),
        lambda canvas: _DRAWN[page_name](analysis, asked, canvas),
    )


def _live(asking: Asking, store: UpstreamStore) -> Look:
    told = present.of_told(store.read(), asking.live(), key=None, alone=False)
    return Look(lambda as_csv: present.written(told, as_csv=as_csv), lambda canvas: moment.drawn(told, canvas.width))


_DRAWN: Mapping[str, Callable[[Analysis, Any, Canvas], RenderableType]] = {
    "usage": showing.usage,
    "top": showing.top,
    "peak-hours": showing.peak_hours,
    "requests": showing.calls,
}


def _write(look: Callable[[], Look], *, as_csv: bool, watch: bool, every: float) -> None:
    while True:
        text = look().write(as_csv)
        if not as_csv and not watch:
            text = msgspec.json.format(text)
        click.echo(text, nl=not as_csv)  # bytes: UTF-8, whatever the terminal knows
        if not watch:
            return
        time.sleep(every)


def _draw(look: Callable[[], Look], *, watch: bool, every: float) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that a terminal has no letters for must not end it
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    canvas = Canvas.of(console)
    if not watch:
        console.print(look().draw(canvas))
        return
    while not console.is_terminal:  # one below the other, for whoever reads it
        console.print(look().draw(canvas))
        time.sleep(every)
    with Live(console=console, auto_refresh=False, screen=True) as screen:
        while True:
            screen.update(look().draw(Canvas.of(console)), refresh=True)
            time.sleep(every)
