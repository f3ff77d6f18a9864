"""Puts a changed config to work in a gateway process, around what is kept: calls under way end as they began."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import gevent
import structlog

from llm_one_api.serving import Draft, Kept, bounds, serving
from llm_one_api.settings import Settings
from llm_one_api.settings.applying import GATEWAY, RESTART, changed, keeping, steadily
from llm_one_api.web.current import Current, Serving
from llm_one_api.web.reloading import Needs

log = structlog.get_logger()

MOST_ASKING = 600.0
"""Seconds after which a config's plugins are closed, though a call may still ask them."""
_LOOK_EVERY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drafted:
    """A config as it was read, and what is made of it here."""

    read: Settings
    draft: Draft


class Renewal:
    """Knows by which config this process runs, and makes another one the current one."""

    def __init__(self, read: Callable[[], Settings], running: Settings, kept: Kept, current: Current) -> None:
        """Begin with *running*; *read* reads the config again, in any thread."""
        self._read = read
        self.running = self._last = running
        """What this process goes by."""
        self.since = datetime.now(UTC)
        """Since when."""
        self._kept = kept
        self._current = current

    def draft(self) -> tuple[_Drafted, str]:
        """Read it, in any thread; tell too which file it was. Raises ConfigError."""
        settings, file = steadily(self._read)
        return _Drafted(read=settings, draft=Draft.of(keeping(self.running, settings, GATEWAY))), file

    def take(self, drafted: _Drafted) -> Needs:
        """Put it to work, on the hub; tell what of it wants a restart. Raises ConfigError, having changed nothing."""
        kept, settings = self._kept, drafted.draft.settings
        new = serving(drafted.draft, kept)
        old, self._current.serving = self._current.serving, new
        kept.watch.bounds = bounds(settings)
        kept.floods.allow(settings.rate_limit.failed_auth_per_minute)
        kept.prepare.forget_heads()
        gevent.spawn(_retire, old)
        needs = self._needs(drafted.read)
        self.running, self._last = settings, drafted.read
        self.since = datetime.now(UTC)
        return needs

    def _needs(self, read: Settings) -> Needs:
        """Tell what we cannot take up; of others only what is new, for they may have been started again since."""
        ours, theirs = changed(self.running, read), changed(self._last, read)
        needs = {
            path: tuple(part for part in parts if path in (ours if part == GATEWAY else theirs))
            for path, parts in RESTART.items()
        }
        return {path: parts for path, parts in needs.items() if parts}


def _retire(old: Serving) -> None:
    """Close what the plugins of a config have opened, when no call asks them any more."""
    until = time.monotonic() + MOST_ASKING
    while old.asking and time.monotonic() < until:
        gevent.sleep(_LOOK_EVERY)
    old.cleanup()
