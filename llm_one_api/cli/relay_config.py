"""What of the config the relay takes up while it runs: the prices."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from llm_one_api import settings
from llm_one_api.errors import ConfigError
from llm_one_api.settings import Settings
from llm_one_api.settings.applying import RELAY, keeping, steadily
from llm_one_api.stores.generation import Following, Voice
from llm_one_api.values import UsageRecord

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.25


class Prices:
    """Prices records as the config says now."""

    def __init__(
        self, loaded: Settings, config: Path | None, *, since: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with *loaded*, which was read from *config* after *since* (`time.time_ns()`)."""
        self._running = loaded
        self._config = config
        self._clock = clock
        self._look_at = 0.0
        self._price = loaded.pricer().price
        run = loaded.data_dir / "run"
        self._following = Following(run, since=since)
        self._voice: Voice | None = None
        try:
            self._voice = Voice(run, RELAY)
        except OSError as error:
            log.warning("config.untold", kind=type(error).__name__, errno=error.errno)
        self._say(self._following.number)

    def __call__(self, record: UsageRecord) -> UsageRecord:
        """Put its cost on a record."""
        return self._price(record)

    def look(self) -> None:
        """See whether there is a new generation, now and then, and take it up."""
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        number = self._following.look()
        if number is None:
            return
        try:
            loaded, file = steadily(partial(settings.load, self._config), self._config)
            loaded = keeping(self._running, loaded, RELAY)
            self._price = loaded.pricer().price
        except ConfigError as error:
            faults = tuple(map(str, error.faults))
            log.error("config.refused", generation=number, faults=list(faults))
            self._say(number, faults=faults)
        else:
            self._running = loaded
            log.info("config.reloaded", generation=number, file=file)
            self._say(number, file=file)

    def close(self) -> None:
        """Say no more: the relay ends."""
        if self._voice is not None:
            self._voice.close()

    def _say(self, number: int, *, faults: tuple[str, ...] = (), file: str = "") -> None:
        if self._voice is not None:
            try:
                self._voice.say(number, "refused" if faults else "uses", faults=faults, file=file)
            except OSError as error:
                log.warning("config.untold", kind=type(error).__name__, errno=error.errno)
