"""`llm-one-api export`: a day's statistics and calls as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm_one_api.books.jobs import day_of
from llm_one_api.books.reports.export.export import BooksDiffer, Exported, NotOverwritten, export_day
from llm_one_api.books.reports.export.formats import FORMATS
from llm_one_api.books.reports.export.formats.format import FormatMissing
from llm_one_api.books.reports.export.remote import target_of
from llm_one_api.books.reports.export.target import Target, TargetError
from llm_one_api.cli import days
from llm_one_api.cli.opening import config_option, ledger_of, settings_of
from llm_one_api.settings import Settings, masked
from llm_one_api.stores.ledger.analysis import Question
from llm_one_api.stores.ledger.ledger import Ledger

if TYPE_CHECKING:
    from rich.progress import Progress

_MOST_DAYS = 10_000


@click.command()
@config_option
@click.option("--day", callback=days.day, metavar="DATE", help="A day, in the config's `timezone`; else yesterday.")
@click.option("--from", "first", callback=days.day, metavar="DATE", help="The first of several days.")
@click.option("--to", "last", callback=days.day, metavar="DATE", help="The last of them; else yesterday.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(list(FORMATS)),
    help="What the calls are written as; several times, if you like. Else what the config says.",
)
@click.option("--to-url", metavar="URL", help="Where they go: a folder, or a URL such as s3://bucket/folder.")
@click.option("--overwrite", is_flag=True, help="Also files of which the ledger has fewer calls, or that say nothing.")
def command(
    config: Path | None,
    day: date | None,
    first: date | None,
    last: date | None,
    formats: tuple[str, ...],
    to_url: str | None,
    overwrite: bool,
) -> None:
    """Write a day's statistics and calls as files: a summary, the calls, and a manifest of both.

    Safe beside running workers, and to do twice: files that are right are left alone.

    Exit code: 0 if all days are written, 1 if one could not be, 2 if the command was given wrongly.
    """
    settings = settings_of(config)
    wanted = _days(day, first, last, datetime.now(settings.zone).date())
    chosen = formats or settings.export.formats
    failed = False
    with ledger_of(settings, must_exist=True) as ledger:
        target = _target(settings, to_url)
        for one in wanted:
            try:
                with _progress(ledger, one, settings) as progress:
                    done = export_day(
                        ledger, target, one, settings.zone, chosen, overwrite=overwrite, progress=progress
                    )
            except (TargetError, FormatMissing) as error:
                raise click.ClickException(str(error)) from None
            except (BooksDiffer, NotOverwritten) as error:
                click.echo(f"{one}: {error}", err=True)
                failed = True
                continue
            for line in _said(done, target):
                click.echo(line)
            failed = failed or bool(done.without)
    if failed:
        raise SystemExit(1)


def _days(day: date | None, first: date | None, last: date | None, today: date) -> list[date]:
    """Tell which days are meant. Raises UsageError for those that are not over."""
    if day and (first or last):
        raise click.UsageError("Give --day, or --from and --to.")
    if last and not first:
        raise click.UsageError("--to needs --from.")
    yesterday = today - timedelta(days=1)
    begin = day or first or yesterday
    end = day or last or yesterday
    if max(begin, end) >= today:
        raise click.UsageError(f"{max(begin, end)} is not over yet.")
    if end < begin:
        raise click.UsageError("--to is before --from.")
    count = (end - begin).days + 1
    if count > _MOST_DAYS:
        raise click.UsageError(f"These are more than {_MOST_DAYS} days.")
    return [begin + timedelta(days=number) for number in range(count)]


def _target(settings: Settings, url: str | None) -> Target:
    to = url or settings.export_to
    same = to.partition("://")[0] == settings.export_to.partition("://")[0]
    try:  # options of s3 would be none of another kind of URL
        return target_of(to, settings.export.storage_options if same else {}, masked)
    except TargetError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _progress(ledger: Ledger, day: date, settings: Settings) -> Iterator[Callable[[int], None]]:
    """Show how far it is, on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _calls: None
        return
    bar: Progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(str(day), total=_calls(ledger, day, settings))
        yield lambda calls: bar.update(task, completed=calls)


def _calls(ledger: Ledger, day: date, settings: Settings) -> int:
    """Tell how many calls the day has."""
    period = day_of(day, settings.zone)
    question = Question(since=period.start, until=period.end, zone=settings.zone, percentiles=False)
    return sum(row.sums.requests for row in ledger.analysis.ask(question))


def _said(done: Exported, target: Target) -> Iterator[str]:
    sums = done.manifest.sums
    calls = "1 call" if sums["requests"] == 1 else f"{sums['requests']:,} calls"
    cost = "" if sums["cost"] is None else f", ${sums['cost']}"
    yield f"{done.day}: {calls}{cost}"
    if done.state == "kept":
        yield "  kept as it is: calls of that day are deleted by now"
    for file in done.manifest.files:
        state = "written" if file.name in done.written else "unchanged"
        yield f"  {target.where.rstrip('/')}/{file.name}  {file.rows:,} rows, {file.bytes:,} bytes, {state}"
    for name in done.without:
        yield f"  no {name}: the calls of that day are deleted by now"
