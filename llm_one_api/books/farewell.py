"""What is said when the service stops: the memory plugin's summary, once, to the terminal and the log file.

Several processes, on several machines, may deliver in one service. Each takes part in the run of the memory plugin
(`TakingPart`, or by itself as `llm-one-api up` does); the last one's farewell is the summary.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog

from llm_one_api.books.deliver import Kept
from llm_one_api.plugins.interfaces import ResponseInfo, local_iso
from llm_one_api.plugins.log import Console, Lines, LogStatsPlugin
from llm_one_api.plugins.memory import JOIN_EVERY, MemoryStatsPlugin
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.plugins.summary import Run, block

log = structlog.get_logger()

ELSEWHERE = "LLM_ONE_API_FAREWELL_ELSEWHERE"
"""The variable that tells a worker to take no part in the run: who started it says the farewell."""


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


class TakingPart:
    """Takes part in the run, from a thread of its own: the process may be busy, and is there all the same."""

    def __init__(self, memory: MemoryStatsPlugin, who: str) -> None:
        """Take part as *who* from now on; *memory* is the thread's, and nobody else's."""
        self._memory = memory
        self._who = who
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_on, name="farewell", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop saying so: for `PRESENT_FOR` seconds one takes part yet, unless one leaves."""
        self._over.set()
        self._thread.join()

    def _keep_on(self) -> None:
        while True:
            try:
                self._memory.join(self._who)
            except Exception as error:  # Redis is away: nobody can leave either
                log.debug("farewell.cannot_join", kind=type(error).__name__)
            if self._over.wait(JOIN_EVERY):
                break
        self._memory.cleanup()


def farewell(
    ledger: Ledger,
    plugins: StatsPlugins,
    who: str,
    *,
    console: Lines | None = None,
    catch_up_for: float = 3.0,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Leave the memory plugin's run as *who*; the last one ends it and writes its summary, if there was a call in it.

    Call it in every process that takes part and stops. Never raises: a service that stops is not to be held up, so
    what fails is logged.
    """
    if "memory" not in plugins.names:
        return
    try:
        memory = plugins.get("memory").plugin
        if not isinstance(memory, MemoryStatsPlugin):
            return
        _try("memory", plugins, lambda: _catch_up(ledger, memory, plugins, clock() + catch_up_for, clock))
        run = memory.leave(who)
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
