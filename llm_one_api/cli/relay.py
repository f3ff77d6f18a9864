"""`llm-one-api relay`: the process that carries the journal's records to the workers."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import click
import structlog
from celery import Celery

from llm_one_api import logs, settings
from llm_one_api.books.parcel import pack
from llm_one_api.books.relay.relay import Relay, RelayOptions
from llm_one_api.books.relay.window import Publish, TakeAcks
from llm_one_api.broker import INGEST, JOBS, sender, waiting
from llm_one_api.cli.claim import writing_to
from llm_one_api.cli.relay_config import Prices
from llm_one_api.cli.relay_resend import resend
from llm_one_api.errors import ConfigError
from llm_one_api.lifetime import look_for_cycles_seldom
from llm_one_api.stores.counters import Acks, connect
from llm_one_api.stores.journal.lock import take_relay_lock
from llm_one_api.stores.journal.segments import journal_id
from llm_one_api.stores.limits import LimitStore

LIFELINE = "LLM_ONE_API_LIFELINE"

_ACKS_AT_ONCE = 1000
_PATIENCE = 0.25
"""Seconds for an answer of the limit store: the sending waits meanwhile."""
_HINT_EXPIRES = 60.0
"""Seconds. Beat hints every minute besides."""
_ENOUGH_HINTS = 4
"""Where so many wait, one more says nothing: while no worker works, the queue must not grow."""

log = structlog.get_logger(__name__)


@click.group(invoke_without_command=True)
@click.option("--config", type=click.Path(path_type=Path), help="The config file.")
@click.option("--drain", default=3.0, show_default=True, help="Seconds to wait for acks when told to stop.")
@click.pass_context
def command(context: click.Context, config: Path | None, drain: float) -> None:
    """Send the journal's records to the workers until they are in the ledger.

    There is one a journal folder: where one runs already, another exits at once. SIGTERM or Ctrl-C sends what is
    there and awaits the acks for a while; a second one, or the end of the process that holds LLM_ONE_API_LIFELINE,
    ends it at once. Nothing is lost either way: what is not acked is sent again by the next relay.
    """
    if context.invoked_subcommand:
        context.obj = config
    else:
        be_relay(config, drain)


command.add_command(resend)


def be_relay(config: Path | None, drain: float) -> None:
    """Be the relay of the journal folder, unless it has one."""
    began = time.time_ns()
    try:
        loaded = settings.load(config)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    logs.configure(loaded.logging.level, loaded.logging.format)
    folder = loaded.journal_folder
    with writing_to(folder):
        lock = take_relay_lock(folder)
        if lock is None:
            log.info("relay.not_needed", folder=str(folder))
            return
        identity = journal_id(folder)
    celery = sender(loaded.broker_url, loaded.redis.key_prefix)
    prices = Prices(loaded, config, since=began)
    relay = Relay(
        folder,
        publish=_publisher(celery, identity),
        take_acks=_ack_taker(loaded, identity),
        count_waiting=lambda: waiting(celery, INGEST),
        price=prices,
        limits=_limits(loaded),
        hint_quota_check=lambda: _hint_quota_check(celery),
        options=RelayOptions(
            batch_records=loaded.relay.batch_records,
            batch_ms=loaded.relay.batch_ms,
            window=loaded.relay.window,
            resend_min=loaded.relay.resend_min,
            resend_max=loaded.relay.resend_max,
            keep_acked_hours=loaded.journal.keep_acked_hours,
            keep_acked_bytes=loaded.journal.keep_acked_bytes,
        ),
    )
    run(relay, drain, prices.look)
    prices.close()
    os.close(lock)


def run(relay: Relay, drain: float, between: Callable[[], None]) -> None:
    """Let *relay* run, and do *between* its turns what there is, until a signal or the end of the lifeline ends it."""
    look_for_cycles_seldom()
    endings = Endings(lifeline=os.environ.get(LIFELINE))
    log.info("relay.started")

    def wait(seconds: float) -> bool:
        between()
        return endings.wait(seconds)

    relay.run(wait, drain=endings.wait_for_a_second, drain_seconds=drain)
    log.info("relay.stopped", unacked=relay.window.unacked)


def _publisher(celery: Celery, identity: str) -> Publish:
    def publish(batch_id: str, lines: list[str], expires: float) -> None:
        celery.send_task(
            "stats.ingest",
            [identity, batch_id, pack(lines)],
            queue=INGEST,
            expires=expires,
            # Otherwise the records themselves would travel once more, in the headers, and into logs.
            argsrepr=f"<{len(lines)} records>",
            kwargsrepr="",
        )

    return publish


def _ack_taker(loaded: settings.Settings, identity: str) -> TakeAcks:
    acks = Acks(connect(loaded.redis_url), loaded.redis.key_prefix)
    return lambda: acks.take(identity, _ACKS_AT_ONCE)


def _limits(loaded: settings.Settings) -> LimitStore:
    """Give what calls are charged to. Where none has a quota, also in the config as it may become, it is not asked."""
    return LimitStore(loaded.redis_url, loaded.redis.key_prefix, lease=loaded.quota.lease, timeout=_PATIENCE)


def _hint_quota_check(celery: Celery) -> None:
    if waiting(celery, JOBS) < _ENOUGH_HINTS:
        celery.send_task("quota.check", queue=JOBS, expires=_HINT_EXPIRES)


class Endings:
    """Waits for what may end the process: SIGTERM, SIGINT, the end of the lifeline."""

    def __init__(self, lifeline: str | None) -> None:
        """Catch the signals from now on; *lifeline* is the number of an inherited descriptor."""
        self._asked = 0
        self._orphaned = False
        self._lifeline = _descriptor(lifeline)
        self._wakeup, written = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A signal between the check and the wait would otherwise be seen only when the wait is over.
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until there is a reason to stop; tell whether there is one."""
        return self._wait(seconds, enough=1)

    def wait_for_a_second(self, seconds: float) -> bool:
        """Wait so long, or until there is a reason to stop without finishing; tell whether there is one."""
        return self._wait(seconds, enough=2)

    def _wait(self, seconds: float, *, enough: int) -> bool:
        if not (self._orphaned or self._asked >= enough):
            sources = [self._wakeup, *([self._lifeline] if self._lifeline is not None else [])]
            ready, _, _ = select.select(sources, [], [], seconds)
            if self._wakeup in ready:
                os.read(self._wakeup, 64)
            if self._lifeline in ready and not os.read(self._lifeline, 64):
                self._orphaned, self._lifeline = True, None
        return self._orphaned or self._asked >= enough

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1


def _descriptor(lifeline: str | None) -> int | None:
    """Read the variable; where nobody handed the descriptor on, there is none."""
    if not lifeline:
        return None
    try:
        os.fstat(int(lifeline))
    except (ValueError, OSError):
        log.warning("relay.no_lifeline", descriptor=lifeline)
        return None
    return int(lifeline)
