"""Keeps parts running, and stops them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from llm_one_api.cli.supervise.backoff import Backoff
from llm_one_api.cli.supervise.child import Child, Part
from llm_one_api.cli.supervise.signals import Signals

log = structlog.get_logger()

SETTLE = 15.0
"""Seconds that the rest of a dead child's group, such as gunicorn's workers with their streams, gets to finish."""
HURRY = 2.0
"""Seconds between asking and killing, when there is no time."""
LAST = 0.5
"""Seconds for the part that is asked last, whatever the others took."""


@dataclass(slots=True)
class _Kept:
    part: Part
    backoff: Backoff
    child: Child | None = None
    start_at: float = 0.0
    restarts: int = 0


@dataclass(slots=True)
class _Remains:
    child: Child
    kill_at: float


@dataclass(slots=True)
class Supervisor:
    """Starts parts, and starts each again when it dies, until it is stopped."""

    signals: Signals
    clock: Callable[[], float] = time.monotonic
    make_backoff: Callable[[], Backoff] = Backoff
    settle: float = SETTLE
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _asked: list[Child] = field(default_factory=list)
    _remains: list[_Remains] = field(default_factory=list)

    def start(self, part: Part) -> None:
        """Start *part* and keep it running."""
        kept = self._kept[part.name] = _Kept(part, self.make_backoff())
        self._launch(kept)

    def pid(self, name: str) -> int | None:
        """Tell the process id of a part; None: it does not run now."""
        kept = self._kept.get(name)
        return kept.child.pid if kept and kept.child else None

    def restarts(self, name: str) -> int:
        """Tell how often a part had to be started again."""
        return self._kept[name].restarts

    def wait(self, seconds: float) -> None:
        """Let time pass, at most *seconds* and until something happens; start again what died meanwhile."""
        now = self.clock()
        due = [kept.start_at for kept in self._kept.values() if kept.child is None]
        due += [remains.kill_at for remains in self._remains]
        self.signals.wait(min([seconds, *(at - now for at in due)]))
        self._tend()

    def stop(self, *names: str, until: float) -> None:
        """Ask parts to end and wait for it; kill those that still run at *until*, with all that they started."""
        stopping = self.ask(*names)
        self.wait_for(stopping, until)
        self.clear(stopping)

    def ask(self, *names: str) -> list[Child]:
        """Ask parts to end, and do not start them again; give what is to be waited for and cleared."""
        asked = [kept.child for name in names if (kept := self._kept.pop(name, None)) and kept.child]
        self._asked += asked
        for child in asked:
            child.signal(signal.SIGTERM)
        return asked

    def wait_for(self, children: list[Child], until: float) -> None:
        """Wait until *children* have ended, or it is *until*."""
        while any(child.alive for child in children) and self.clock() < until:
            self.wait(until - self.clock())

    def clear(self, children: list[Child]) -> None:
        """Kill what is left of *children*."""
        for child in children:
            if child.alive:
                log.warning("part.killed", part=child.part.name, reason="it did not end in time")
            child.reap()
            self._asked.remove(child)

    def stop_all(self, last: str, seconds: float = HURRY) -> None:
        """Ask everything to end at once, the part *last* after the others; kill what is left after *seconds*."""
        until = self.clock() + seconds
        self.ask(*(name for name in self._kept if name != last))
        self.wait_for(self._asked, until)
        self.stop(last, until=max(until, self.clock() + LAST))
        self.kill_all()

    def kill_all(self) -> None:
        """Leave nothing behind, at once."""
        kept = [kept.child for kept in self._kept.values() if kept.child]
        for child in [*kept, *self._asked, *(remains.child for remains in self._remains)]:
            child.reap()
        self._kept.clear()
        self._asked.clear()
        self._remains.clear()

    def _launch(self, kept: _Kept) -> None:
        now = self.clock()
        try:
            kept.child = Child(kept.part, started_at=now)
        except OSError as error:  # such as no memory for one more process
            kept.start_at = now + kept.backoff.after(0.0)
            log.warning("part.not_started", part=kept.part.name, error=str(error), again_in=kept.start_at - now)

    def _tend(self) -> None:
        now = self.clock()
        for kept in self._kept.values():
            if kept.child is not None and (end := kept.child.end()) is not None:
                wait = kept.backoff.after(now - kept.child.started_at)
                log.warning("part.died", part=kept.part.name, how=end, again_in=wait)
                kept.child.signal_group(signal.SIGTERM)
                self._remains.append(_Remains(kept.child, now + self.settle))
                kept.child, kept.start_at = None, now + wait
            if kept.child is None and kept.start_at <= now:
                kept.restarts += 1
                self._launch(kept)
        for remains in [each for each in self._remains if each.kill_at <= now]:
            remains.child.reap()
            self._remains.remove(remains)
