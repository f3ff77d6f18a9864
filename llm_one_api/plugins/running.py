"""The stats plugins of one process: each is made when it is first needed, and made anew after it failed."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import structlog

from llm_one_api.errors import ConfigError, Fault
from llm_one_api.plugins import manager
from llm_one_api.plugins.interfaces import (
    ExactStatsPlugin,
    PluginConfig,
    PluginContext,
    ResponseInfo,
    StatsPlugin,
)
from llm_one_api.plugins.scrub import scrub
from llm_one_api.plugins.timelimit import Watchdog, time_limit

log = structlog.get_logger()


class Running:
    """One instance of a stats plugin. Plain or `async`, each call of it ends within the time limit."""

    def __init__(self, make: Callable[[], StatsPlugin], call_timeout: float, watchdog: Watchdog | None = None) -> None:
        """Construct and initialize it; raises whatever the plugin raises, having cleaned up."""
        self._limit = call_timeout
        self._watchdog = watchdog
        self._runner: asyncio.Runner | None = None
        with self._limited("the constructor"):
            self.plugin = make()
        self._wants_request = type(self.plugin).record_request is not StatsPlugin.record_request
        try:
            self._call(self.plugin.initialize)
        except BaseException:
            with suppress(BaseException):  # cleaning up what was never opened fails too, and says nothing
                self.close()
            raise

    @property
    def exact(self) -> ExactStatsPlugin | None:
        """The plugin, if it keeps its place in the ledger itself."""
        return self.plugin if isinstance(self.plugin, ExactStatsPlugin) else None

    @property
    def takes_several(self) -> bool:
        """Whether it wants several finished calls at once, and not to be told of each request before."""
        return type(self.plugin).record_responses is not StatsPlugin.record_responses and not self._wants_request

    @property
    def restarts(self) -> bool:
        """Whether it is exact and can begin anew."""
        return self.exact is not None and type(self.exact).restart is not ExactStatsPlugin.restart

    def record(self, info: ResponseInfo) -> None:
        """Hand it one finished call."""
        if self._wants_request:
            # A copy: what record_request does with it must not show in record_response.
            self._call(self.plugin.record_request, ResponseInfo(info))
        self._call(self.plugin.record_response, info)

    def record_several(self, infos: Sequence[ResponseInfo]) -> None:
        """Hand it finished calls, all or none; only if it takes several."""
        self._call(self.plugin.record_responses, infos)

    def restart(self, since: int) -> None:
        """Let it forget and begin after *since*; only if it is exact."""
        with self._limited("restart"):
            self._must_be_exact().restart(since)

    def position(self, since: int) -> int:
        """Ask for its place; only if it is exact."""
        with self._limited("position"):
            return self._must_be_exact().position(since)

    def record_batch(self, after: int, upto: int, infos: Sequence[ResponseInfo]) -> bool:
        """Hand it a batch; only if it is exact."""
        with self._limited("record_batch"):
            return self._must_be_exact().record_batch(after, upto, infos)

    def close(self) -> None:
        """Clean up; raises whatever the plugin raises, with everything else closed."""
        try:
            self._call(self.plugin.cleanup)
        finally:
            if self._runner is not None:
                with self._limited("ending its async tasks"):
                    self._runner.close()
                self._runner = None

    def _must_be_exact(self) -> ExactStatsPlugin:
        if self.exact is None:
            raise TypeError(f"{type(self.plugin).__name__} is no ExactStatsPlugin")
        return self.exact

    def _limited(self, what: str) -> AbstractContextManager[None]:
        return time_limit(self._limit, what, self._watchdog)

    def _call(self, hook: Callable[..., Any], *arguments: Any) -> None:
        with self._limited(hook.__name__):
            result = hook(*arguments)
            if inspect.isawaitable(result):
                if self._runner is None:
                    self._runner = asyncio.Runner()
                self._runner.run(self._within(result, hook.__name__))

    async def _within(self, result: Awaitable[None], what: str) -> None:
        """Wait for *result*, with a limit that holds in any thread and lets its own `finally` run."""
        waiting = asyncio.ensure_future(result)
        done, _ = await asyncio.wait({waiting}, timeout=self._limit * 0.95)
        if not done:
            waiting.cancel()
            await asyncio.wait({waiting}, timeout=self._limit * 0.05)
            raise TimeoutError(f"{what} took longer than {self._limit:g} s")
        await waiting


class StatsPlugins:
    """The stats plugins that are on, for one process. Not for use by several threads at a time."""

    def __init__(
        self,
        names: Sequence[str],
        sections: Mapping[str, Mapping[str, Any]],
        context: PluginContext,
        *,
        call_timeout: float = 10.0,
        grace: float = 5.0,
    ) -> None:
        """Find their classes and check their sections; raise ConfigError with all that is wrong. Makes no instance.

        A call that takes *call_timeout* is ended; one that goes on for *grace* after that is hung (`watching`).
        """
        faults = manager.check("stats", names, sections)
        if faults:
            raise ConfigError(faults, "plugins")
        self.names = tuple(names)
        self.context = context
        self._sections = sections
        self._limit = call_timeout
        self._watchdog = Watchdog(grace)
        self._running: dict[str, Running] = {}
        self._pid = os.getpid()

    def get(self, name: str) -> Running:
        """Give the instance of *name*, made now if there is none; raises whatever its constructor raises."""
        if self._pid != os.getpid():
            # Forked: the instances are the parent's, with its connections.
            self._running, self._pid = {}, os.getpid()
        if name not in self._running:
            self._running[name] = Running(lambda: self._make(name), self._limit, self._watchdog)
        return self._running[name]

    def drop(self, name: str) -> None:
        """Clean up the instance of *name*, if there is one; what goes wrong with that is logged."""
        running = self._running.pop(name, None)
        if running is None or self._pid != os.getpid():
            return
        try:
            running.close()
        except BaseException as error:
            log.warning("plugin.cleanup_failed", plugin=name, error=self.tell(name, error))

    def watching(self, hung: Callable[[str], None]) -> AbstractContextManager[None]:
        """Watch the calls of a block; *hung* is called from another thread if one hangs where Python cannot end it."""
        return self._watchdog.watching(hung)

    def close(self) -> None:
        """Clean up all instances."""
        for name in list(self._running):
            self.drop(name)
        self._watchdog.close()

    def tell(self, name: str, error: BaseException) -> str:
        """Put an error of plugin *name* into one line without its secrets."""
        return scrub(error, self._sections.get(name) or {}, self.context)

    def _make(self, name: str) -> StatsPlugin:
        if name not in self.names:
            raise ConfigError([Fault("plugins.stats", f"{name!r} is not on; on: {', '.join(self.names)}")], "plugins")
        plugin = manager.find("stats", name)(PluginConfig(self._sections.get(name) or {}, self.context))
        if not isinstance(plugin, StatsPlugin):
            raise TypeError(f"{type(plugin).__name__} is no StatsPlugin")
        return plugin
