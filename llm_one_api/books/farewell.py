"""What is said when the service stops: the memory plugin's summary, once, to the terminal and the log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog

from llm_one_api.books.deliver import Kept
from llm_one_api.plugins.interfaces import ResponseInfo, local_iso
from llm_one_api.plugins.log import Console, Lines, LogStatsPlugin
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.plugins.summary import Run, block

log = structlog.get_logger()


class Cursors(Protocol):
    """What a farewell needs of the plugins' cursors."""

    def begin_run(self, consumer: str, since: int) -> None:
        """Note that a run of *consumer* begins after *since*."""


class Ledger(Protocol):
    """What a farewell needs of the ledger."""

    @property
    def cursors(self) -> Cursors:
        """The plugins' places."""

    def read(self, after: int, limit: int) -> Sequence[Kept]:
        """Give the next records."""


def farewell(
    ledger: Ledger,
    plugins: StatsPlugins,
    *,
    console: Lines | None = None,
    catch_up_for: float = 3.0,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """End the memory plugin's run and write its summary; nothing if there was no call in it, or if another did it.

    Call it in every process that stops as part of the service: the first one gets the summary. Never raises: a service
    that stops is not to be held up, so what fails is logged.
    """
    if "memory" not in plugins.names:
        return
    try:
        memory = plugins.get("memory").plugin
        if not isinstance(memory, MemoryStatsPlugin):
            return
        _catch_up(ledger, memory, plugins, clock() + catch_up_for, clock)
        run = memory.claim()
    except Exception as error:
        log.error("farewell.failed", plugin="memory", error=plugins.tell("memory", error))
        return
    if run is None:
        return
    text = block(run.models)
    _try("console", plugins, lambda: (console or Console()).write(text))
    _try("log", plugins, lambda: _to_log(plugins, run, text))
    # Should Redis lose the place before the next start, counting goes on from here.
    _try("memory", plugins, lambda: ledger.cursors.begin_run("memory", run.upto))


def _catch_up(
    ledger: Ledger, memory: MemoryStatsPlugin, plugins: StatsPlugins, end: float, clock: Callable[[], float]
) -> None:
    """Count what the ledger has by now. No lease is needed: a batch that another has counted changes nothing."""
    place = memory.place()
    while place is not None and clock() < end and (kept := ledger.read(place, 200)):
        infos = [ResponseInfo.of(one.record, plugins.context.zone) for one in kept]
        memory.record_batch(place, kept[-1].seq, infos)
        place = memory.place()


def _to_log(plugins: StatsPlugins, run: Run, text: str) -> None:
    if "log" not in plugins.names:
        return
    plugin = plugins.get("log").plugin
    if isinstance(plugin, LogStatsPlugin):
        now = local_iso(datetime.now(UTC), plugins.context.zone)
        plugin.write_summary({"timestamp": now, **run.plain()}, text)


def _try(name: str, plugins: StatsPlugins, step: Callable[[], object]) -> None:
    try:
        step()
    except Exception as error:
        log.error("farewell.failed", plugin=name, error=plugins.tell(name, error))
