"""The run of the memory plugin that is a run of `llm-one-api up`: begins with it, ends with it."""

from __future__ import annotations

import redis
import structlog

from llm_one_api.books.farewell import farewell
from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.settings import Settings
from llm_one_api.stores.journal.segments import journal_id
from llm_one_api.stores.ledger.ledger import Ledger

log = structlog.get_logger()


class MemoryRun:
    """Takes part in the run for all of this installation: its worker does not. Nothing to do without the plugin."""

    def __init__(self, settings: Settings, since: int) -> None:
        """Begin after *since*, when told to. Connects to nothing yet."""
        self._settings = settings
        self._since = since
        # The same at the next start: who was killed is not taken for another who still takes part.
        self._who = f"up:{journal_id(settings.journal_folder)}"
        self._memory = None
        self._begun = False
        if "memory" in settings.plugins.stats:
            section = settings.stats.get("memory") or {}
            self._memory = MemoryStatsPlugin(PluginConfig(section, settings.plugin_context()))

    def begin(self) -> bool:
        """Begin it, unless others take part in one already; False: Redis does not answer, try again.

        What a killed `up` left unsaid is not this one's: it is forgotten here, and stays in the ledger.
        """
        if self._memory is None:
            return True
        try:
            self._memory.begin(self._who, self._since)
        except redis.RedisError:
            return False
        self._begun = True
        return True

    def go_on(self) -> None:
        """Take part for some seconds more."""
        if self._memory is None:
            return
        try:
            self._memory.join(self._who)
        except redis.RedisError as error:  # it is away: nobody can leave either
            log.debug("farewell.cannot_join", kind=type(error).__name__)

    def end(self, seconds: float) -> None:
        """Bring what the ledger has to the plugin, for at most so long, and print its summary. Never raises."""
        if self._memory is None or not self._begun:
            return
        try:
            self._memory.cleanup()
            self._say_farewell(seconds)
        except Exception as error:
            log.error("farewell.failed", plugin="memory", error=type(error).__name__)

    def _say_farewell(self, seconds: float) -> None:
        loaded = self._settings
        ledger = Ledger(loaded.ledger.url)
        stats = StatsPlugins(loaded.plugins.stats, loaded.stats, loaded.plugin_context())
        try:
            farewell(ledger, stats, self._who, catch_up_for=seconds)
        finally:
            stats.close()
            ledger.close()
