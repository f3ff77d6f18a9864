"""Takes up a changed config in one gunicorn process, without a call noticing.

Four times a second it looks whether there is a new generation (`stores/generation.py`). The config is then read in a
thread beside the calls, and put to work on the hub, by naming something else as the current one: calls that are under
way go on with what they began with. A config with faults changes nothing.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import gevent
import structlog

from llm_one_api.errors import ConfigError
from llm_one_api.stores.generation import Following, Voice
from llm_one_api.web.off_hub import Threads, on_disk

log = structlog.get_logger()

LOOK_EVERY = 0.25
SWITCH = 0.0005
"""Seconds after which a thread that reads a config lets the hub run. Python's own 5 ms would be waited for in each turn
of the hub, as long as that takes."""

T = TypeVar("T")
Needs = Mapping[str, tuple[str, ...]]
"""Settings that want a restart, with the parts that want it."""

in_thread = Threads(1)
"""For reading the config: its threads are no other work's."""


class Renewal(Protocol[T]):
    """What makes another config the current one."""

    def draft(self) -> tuple[T, str]:
        """Read it, in any thread; tell too which file it was. Raises ConfigError."""

    def take(self, draft: T) -> Needs:
        """Put it to work, on the hub; tell what of it wants a restart. Raises ConfigError, having changed nothing."""


class Reloading(Generic[T]):
    """Belongs to one process; `start` after the fork, `stop` before it ends."""

    def __init__(self, run: Path, part: str, renewal: Renewal[T], *, since: int, stopping: Callable[[], bool]) -> None:
        """Follow the generations in *run* that begin after *since* (`time.time_ns()`), until it is *stopping*."""
        self._run = run
        self._part = part
        self._renewal = renewal
        self._stopping = stopping
        self._following = Following(run, since=since)
        self._voice: Voice | None = None
        self._greenlet: Any = None

    def start(self) -> None:
        """Begin to follow, on this thread's hub."""
        self._greenlet = gevent.spawn(self._follow)

    def stop(self) -> None:
        """Follow no more."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        if self._voice is not None:
            with suppress(OSError):
                self._voice.close()
            self._voice = None

    def _follow(self) -> None:
        self._say(self._following.number)
        while True:
            try:
                number = self._following.look()
                if number is not None:
                    self._take_up(number)
            except Exception as error:  # whatever it is, the next reload must not find nobody here
                log.error("config.refused", generation=number, faults=[f"unexpected: {type(error).__name__}"])
                self._say(number or 0, "refused", faults=(f"unexpected: {type(error).__name__}",))
            gevent.sleep(LOOK_EVERY)

    def _take_up(self, number: int) -> None:
        if self._stopping():
            self._say(number, "stopping")
            return
        began = time.monotonic()
        try:
            with _beside_calls():
                draft, file = in_thread(self._renewal.draft)
            read = time.monotonic()
            needs = self._renewal.take(draft)
        except ConfigError as error:
            faults = tuple(map(str, error.faults))
            log.error("config.refused", generation=number, faults=list(faults))
            self._say(number, "refused", faults=faults)
            return
        log.info(
            "config.reloaded",
            generation=number,
            file=file,
            read_ms=round((read - began) * 1000),
            swap_ms=round((time.monotonic() - read) * 1000, 1),
        )
        if needs:
            log.warning("config.restart_needed", settings={path: list(parts) for path, parts in needs.items()})
        self._say(number, restart=needs, file=file)

    def _say(self, number: int, *said: Any, **more: Any) -> None:
        """Say it for whoever asked for the reload. Where that cannot be written it is in the log all the same."""
        try:
            if self._voice is None:
                self._voice = on_disk(lambda: Voice(self._run, self._part))
            voice = self._voice
            on_disk(lambda: voice.say(number, *said, **more))
        except OSError as error:
            log.warning("config.untold", kind=type(error).__name__, errno=error.errno)


@contextmanager
def _beside_calls() -> Iterator[None]:
    """Let a thread work for a second without calls noticing: it gives way at once, and nobody looks for cycles.

    With Python's own settings, 200 models and 1000 keys had the hub wait for 5 ms each turn, and once for 80 ms.
    """
    before, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(SWITCH)
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        if collects:
            gc.enable()
