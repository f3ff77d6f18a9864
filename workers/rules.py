"""The limits, as the config says now: quotas that are set or changed while workers run are theirs too."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from llm_one_api.errors import ConfigError
from llm_one_api.limits.rules import Rules
from llm_one_api.settings import Settings
from llm_one_api.settings.applying import written

log = structlog.get_logger()


class CurrentRules:
    """Reads the config again when its file was changed: once a minute somebody asks, so nobody has to tell.

    The gateway takes a change up when it is told to (`llm-one-api reload`). Here the rules only say which quotas are
    spoken of, so it does no harm to be before it.
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings], at: Callable[[], str] = written) -> None:
        """Begin with *settings*; *read* reads them again, *at* tells when their file was written."""
        self._rules = settings.limit_rules()
        self._read = read
        self._at = at
        self._seen: str | None = None

    def now(self) -> Rules:
        """Give them. Those before hold on while the file has faults."""
        at = self._at()
        if at != self._seen:
            self._seen = at
            try:
                self._rules = self._read().limit_rules()
            except ConfigError as error:
                log.error("config.refused", faults=[str(fault) for fault in error.faults])
        return self._rules
