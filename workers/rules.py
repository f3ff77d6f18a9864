"""Limits and alerts, as the config says now: those that are set or changed while workers run are theirs too."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from llm_one_api.books.reports.alerts.rules import Alerting
from llm_one_api.errors import ConfigError
from llm_one_api.limits.rules import Rules
from llm_one_api.settings import Settings
from llm_one_api.settings.applying import written

log = structlog.get_logger()


class CurrentRules:
    """Reads the config again when its file was changed: once a minute somebody asks, so nobody has to tell.

    The gateway takes a change up when it is told to (`llm-one-api reload`). Here limits only say which quotas are
    spoken of, so it does no harm to be before it.
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings], at: Callable[[], str] = written) -> None:
        """Begin with *settings*; *read* reads them again, *at* tells when their file was written."""
        self._rules = settings.limit_rules()
        self._alerting = settings.alerts.alerting()
        self._read = read
        self._at = at
        self._seen: str | None = None

    def now(self) -> Rules:
        """Give the limits. Those before hold on while the file has faults."""
        self._look()
        return self._rules

    def alerting(self) -> Alerting:
        """Give the rules and channels of alerts, likewise."""
        self._look()
        return self._alerting

    def _look(self) -> None:
        at = self._at()
        if at == self._seen:
            return
        self._seen = at
        try:
            settings = self._read()
        except ConfigError as error:
            log.error("config.refused", faults=[str(fault) for fault in error.faults])
            return
        self._rules, self._alerting = settings.limit_rules(), settings.alerts.alerting()
