"""`llm-one-api relay resend`: what was in the ledger is sent once more, after the ledger was lost."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from llm_one_api.books.relay.resending import Kept, NoRoom, Resending, Resent, check_room, kept
from llm_one_api.cli.claim import writing_to
from llm_one_api.cli.opening import config_option, settings_of
from llm_one_api.settings import Settings
from llm_one_api.stores.journal.lock import relay_is_running
from llm_one_api.stores.journal.writer import Journal

_WHEN = re.compile(
    r"(19[7-9]|2\d\d)\d-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)


def _when(_ctx: click.Context, _param: click.Parameter, value: str) -> datetime:
    """Read a day or a time; without an offset it is in the config's zone, which is not known yet."""
    try:
        if _WHEN.fullmatch(value):
            return datetime.fromisoformat(value)
    except ValueError:
        pass
    raise click.BadParameter(f"{value!r} is no time such as 2026-11-24 or 2026-11-24T03:00")


@click.command("resend")
@config_option
@click.option(
    "--since",
    callback=_when,
    metavar="WHEN",
    required=True,
    help="When the backup was made that the ledger was restored from: a day, or a time such as 2026-11-24T03:00.",
)
@click.pass_obj
def resend(of_relay: Path | None, config: Path | None, since: datetime) -> None:
    """Put into the journal again what the ledger has acknowledged since WHEN.

    For a ledger that was lost or restored from a backup; the relay then sends it as it sends everything. Safe beside a
    running gateway and relay, and safe to do twice: the ledger passes over the calls that it has.
    """
    settings = settings_of(config or of_relay)
    begin = (since if since.tzinfo else since.replace(tzinfo=settings.zone)).astimezone(settings.zone)
    folder = settings.journal_folder
    _check(folder, begin)
    with writing_to(folder):
        what = kept(folder, begin)
        try:
            check_room(folder, what, settings.journal.max_bytes)
            done = _resend(folder, what, settings.journal.segment_bytes)
        except NoRoom as error:
            raise click.ClickException(str(error)) from None
    for line in _said(done, settings):
        click.echo(line)
    if done.records and not relay_is_running(folder):
        click.echo("No relay is running here now: the next one sends them. A gateway starts one.")
    faults = list(_missing(what, done, begin, settings))
    for fault in faults:
        click.echo(fault, err=True)
    if what.incomplete or done.vanished:
        raise SystemExit(1)


def _check(folder: Path, begin: datetime) -> None:
    """Raise ClickException where it cannot be what is meant."""
    if begin > datetime.now(UTC):
        raise click.BadParameter("it is in the future", param_hint="--since")
    if not folder.is_dir():
        raise click.ClickException(f"there is no journal at {folder.resolve()}")
    if folder.stat().st_uid != os.geteuid():  # files of ours would be ours alone
        raise click.ClickException(f"do it as the user whose relay it is, the owner of {folder.resolve()}")


def _resend(folder: Path, what: Kept, segment_bytes: int) -> Resent:
    journal = Journal(folder, segment_bytes=segment_bytes)
    try:
        return Resending(folder, journal).resend(what)
    finally:
        journal.shut()


def _said(done: Resent, settings: Settings) -> Iterator[str]:
    if done.first is None or done.last is None:
        yield "Nothing is kept that was acknowledged since then."
        return
    calls = "1 call" if done.records == 1 else f"{done.records:,} calls"
    aborted = f", {done.aborted:,} of them aborted" if done.aborted else ""
    yield f"{calls} from {_local(done.first, settings)} to {_local(done.last, settings)} will be sent again{aborted}."


def _missing(what: Kept, done: Resent, begin: datetime, settings: Settings) -> Iterator[str]:
    """Say what may be missing of it."""
    oldest = (
        "Nothing older is kept" if what.oldest is None else f"The oldest kept is of {_local(what.oldest, settings)}"
    )
    bounds = "journal.keep_acked_hours, journal.keep_acked_bytes, or a disk that was nearly full"
    if what.incomplete:
        yield f"Not all that was acknowledged since {_local(begin, settings)} is kept ({bounds}). {oldest}."
    elif what.incomplete is None and (what.oldest is None or what.oldest > begin):
        yield f"Nobody knows whether all that was acknowledged since {_local(begin, settings)} is kept. {oldest}."
    if done.vanished:
        yield f"{done.vanished:,} segments were deleted while they were read."
    if done.unreadable:
        yield f"{done.unreadable:,} places could not be read."


def _local(at: datetime, settings: Settings) -> str:
    return at.astimezone(settings.zone).isoformat(sep=" ", timespec="seconds")
