"""One delivery: a plugin's turn, until it has caught up or the time is over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import structlog

from llm_one_api.books.deliver.exact import exact
from llm_one_api.books.deliver.pace import Pace
from llm_one_api.books.deliver.plain import plain
from llm_one_api.books.deliver.protocols import L, Ledger
from llm_one_api.books.deliver.turn import LostLeaseError, PluginError, Turn
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.values import Value

log = structlog.get_logger()


class Delivered(Value, frozen=True, kw_only=True):
    """What came of a delivery."""

    records: int = 0
    set_aside: int = 0
    """Records that the plugin refuses, and that are in its dead letters now."""
    more: bool = False
    """The time was over before it had caught up: deliver again at once."""
    error: str | None = None
    """What the plugin raised, without its secrets."""


def deliver(
    ledger: Ledger[L],
    name: str,
    plugins: StatsPlugins,
    pace: Pace = Pace(),  # noqa: B008  # frozen
    *,
    clock: Callable[[], float] = time.monotonic,
    end_process: Callable[[int], object] = os._exit,
) -> Delivered:
    """Hand plugin *name* what it has not had yet, until it has caught up.

    Raises only what the ledger raises. Where the plugin hangs for good, the process ends by *end_process*.
    """
    turn = Turn(ledger, name, plugins, pace, clock, end_process)
    more, newest, error = False, 0, None
    try:
        while not more:
            with turn.held() as held:
                if not held:
                    break  # whoever has the lease looks once more after giving it back
                more = not _run(turn)
            # A record may be there that was committed after the last look, but whose hint found us still holding the
            # lease. One that was there before that look and did not come is gone from the ledger.
            before, newest = newest, ledger.last_seq()
            if newest <= max(turn.place, before):
                break
    except LostLeaseError:
        log.warning("delivery.lease_lost", plugin=name)
    except PluginError as failed:
        error = str(failed)
    return Delivered(records=turn.records, set_aside=turn.set_aside, more=more, error=error)


def _run(turn: Turn[L]) -> bool:
    """Deliver until there is nothing more (True) or the time is over (False)."""
    failures, before = turn.lease.failures, turn.records
    caught_up = exact(turn) if turn.plugin().exact is not None else plain(turn)
    if failures and turn.records > before:
        log.info("plugin.recovered", plugin=turn.name, failures=failures)
    return caught_up
