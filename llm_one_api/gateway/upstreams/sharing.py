"""Tells the other processes how the upstreams stand in this one, and hears of them: through Redis, four times a second.

Nothing waits for it. Without Redis a process goes by what it sees itself; what the others had under way counts for
three seconds more. Times travel by the clock of Redis, so the hosts' clocks need not agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol
from uuid import uuid4

import gevent
import structlog
from gevent.event import Event

from llm_one_api.gateway.upstreams import telling
from llm_one_api.gateway.upstreams.health import NOBODY
from llm_one_api.gateway.upstreams.member import Member
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.gateway.upstreams.telling import MILLION
from llm_one_api.stores.upstreams.messages import Condition, ProcessFigures, Standing, Told, Turn
from llm_one_api.stores.upstreams.store import ALIVE_SECONDS

log = structlog.get_logger()

FIGURES_EVERY = 2.0
"""Seconds from one time that the figures of the pages are told to the next."""
AGAIN_AFTER = 1.0
"""Seconds from a turn that failed to the next."""
MOST_TURNS = 200
"""Turns a second, of all processes together: with very many of them each has its turn less often."""
_SOON = 0.02
"""Seconds that a change waits for others to be told with it."""
_LEAST = 1e-6


class Store(Protocol):
    """What is needed of the store. All methods raise if there is no answer in time."""

    def turn(
        self,
        process: str,
        standings: Sequence[Standing],
        changed: Mapping[str, Condition],
        *,
        version: str = "",
        figures: ProcessFigures | None = None,
    ) -> Turn:
        """Say how *process* sees things, and hear how the others do."""

    def leave(self, process: str) -> None:
        """Say that *process* ends."""

    def claim(self, key: str, seconds: float) -> bool:
        """Tell whether nobody has claimed *key* yet, which is then claimed for so many *seconds*."""


class Sharing:
    """One process's part in what all know of the upstreams."""

    def __init__(
        self,
        members: Members,
        store: Store,
        *,
        calls: Callable[[], Mapping[str, tuple[int, int]]] = dict,
        every: float = 0.25,
        figures_every: float = FIGURES_EVERY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Say nothing yet: `start` begins, on the hub of its thread. *calls*: see `Watch.calls`."""
        self._members = members
        self._store = store
        self._calls = calls
        self._every = every
        self._figures_every = figures_every
        self._clock = clock
        self._something = Event()
        self._greenlet: Any = None
        self.process = ""
        """This process's name among all; there is one while it takes part."""
        self.is_alone = False
        """Whether nothing was heard for so long that only this process's own part counts."""
        self._has_failed = False
        """Whether the last turn has."""
        self._heard_at = 0.0
        self._figures_at = 0.0
        self._config_read_at = 0.0
        self._routes: list[Any] = []
        self._offset: float | None = None
        """By how much Redis's clock is ahead of ours; None: it is not known yet."""
        self._version = ""
        self._others = 0
        self._unsaid: dict[str, Member] = {}
        """Whose condition has changed, which the store does not know yet."""
        self._known: dict[str, Condition] = {}
        """What the store was last told or has last said of whom."""

    def start(self) -> None:
        """Begin to take part, by a name made now: after the fork."""
        if self._greenlet is None:
            self.process = uuid4().hex
            self._heard_at = time.monotonic()
            self._members.on_change = self._something.set
            self._greenlet = gevent.spawn(self._take_turns)

    def stop(self) -> None:
        """End it, and say so if that can be said at once."""
        if self._greenlet is None:
            return
        self._greenlet.kill()
        self._greenlet = None
        if not self._has_failed:
            try:
                self._store.leave(self.process)
            except Exception as error:  # whatever the client raises; what we had under way is forgotten soon
                log.info("upstreams.left_silently", kind=type(error).__name__)

    def may_probe(self, key: str, seconds: float) -> bool:
        """Tell whether this process should probe *key* now: no other does for so many *seconds*, if Redis can tell."""
        if self._greenlet is None or self._has_failed:
            return True
        try:
            return self._store.claim(key, seconds)
        except Exception:  # whatever the client raises; the turns say so
            return True

    def own(self) -> Told:
        """Tell what this process knows by itself, by its own clock: for pages, while it is alone."""
        figures = telling.figures(self._members.groups(), self._calls(), self._config_read_at, 0.0, all_in_flight=True)
        conditions = {member.key: telling.outward(member.health.condition, 0.0) for member in self._members.all()}
        return Told(round(self._clock() * MILLION), {self.process: figures}, [], conditions)

    def with_own(self, told: Told) -> Told:
        """Give what all have told, for pages; what this process has to tell is of this moment."""
        if self._greenlet is None or self._offset is None:
            return told
        figures = telling.figures(self._members.groups(), self._calls(), self._config_read_at, self._offset)
        return told._replace(processes={**told.processes, self.process: figures})

    # -- turns --

    def _take_turns(self) -> None:
        while True:
            if self._something.wait(self._pause()):
                gevent.sleep(_SOON)
            self._something.clear()
            try:
                self._turn()
            except Exception as error:  # whatever the client raises; a fault of ours must not end this either
                self._failed(error)
                gevent.sleep(AGAIN_AFTER)

    def _pause(self) -> float:
        if self._has_failed or self._offset is None:
            return 0.0
        if any(member.is_shared for member in self._members.all()):
            return max(self._every, (self._others + 1) / MOST_TURNS)
        return self._figures_every

    def _turn(self) -> None:
        groups = list(self._members.groups())
        routes = [group.route for group in groups]
        if len(routes) != len(self._routes) or any(a is not b for a, b in zip(routes, self._routes, strict=True)):
            self._routes, self._config_read_at = routes, self._clock()
            self._version, self._figures_at = "", 0.0  # who is new has not heard what the store knows
        shared = [member for group in groups for member in group.all if member.is_shared]
        self._unsaid.update((member.key, member) for member in self._members.take_changed())
        offset = self._offset
        figures, saying, standings = None, {}, []
        if offset is not None:
            if time.monotonic() - self._figures_at >= self._figures_every:
                figures = telling.figures(groups, self._calls(), self._config_read_at, offset)
            saying = {key: telling.outward(member.health.condition, offset) for key, member in self._unsaid.items()}
            standings = telling.standings(shared, self._clock(), offset)

        began = self._clock()
        heard = self._store.turn(self.process, standings, saying, version=self._version, figures=figures)
        self._note_time(heard.now / MILLION, began, self._clock())

        for key in saying:
            del self._unsaid[key]
        self._known.update(saying)
        if figures is not None:
            self._figures_at = time.monotonic()
        self._version = heard.version
        self._others = heard.others
        self._adopt(heard.conditions)
        self._count(shared, heard)
        self._succeeded()

    def _note_time(self, theirs: float, began: float, ended: float) -> None:
        """Learn how far Redis's clock is ahead; as long as what is known can be right it stays, and times compare."""
        offset, doubt = theirs - (began + ended) / 2, (ended - began) / 2 + 0.001
        if self._offset is None or abs(offset - self._offset) > doubt:
            self._offset = offset

    def _adopt(self, conditions: Mapping[str, Condition]) -> None:
        """Take over what is new to us. What we have changed meanwhile is told next time, and may be newer."""
        self._unsaid.update((member.key, member) for member in self._members.take_changed())
        offset = self._offset or 0.0
        for key, condition in conditions.items():
            member = self._members.get(key)
            if member is None or self._known.get(key) == condition:
                continue
            self._known[key] = condition
            since = condition.since / MILLION - offset
            if key not in self._unsaid:  # the store has compared
                since = max(since, member.health.condition.since + _LEAST)
            member.health.adopt(telling.inward(condition, offset, since=since))
            member.group.serve()
        for gone in [key for key in self._known if self._members.get(key) is None]:
            del self._known[gone]

    def _count(self, shared: Iterable[Member], heard: Turn) -> None:
        """Give each upstream the sum of what the others have of it."""
        told: dict[str, list[Standing]] = {}
        for process in heard.standings:
            for standing in process:
                told.setdefault(standing.key, []).append(standing)
        offset = self._offset or 0.0
        for member in shared:
            others = telling.summed(
                told.get(member.key, ()), heard.others + 1, telling.micros(member.health.last_answered, offset)
            )
            has_changed = others.in_flight != member.health.others.in_flight
            member.told(others)
            if has_changed and member.group.waiting:
                member.group.serve()

    # -- with and without Redis --

    def _succeeded(self) -> None:
        self._heard_at = time.monotonic()
        if not self._has_failed:
            return
        self._has_failed = False
        now = self._clock()
        # It may have lost what it knew.
        self._unsaid.update(
            (member.key, member) for member in self._members.all() if member.health.condition.until > now
        )
        if self.is_alone:
            self.is_alone = False
            log.info("upstreams.together", others=self._others)

    def _failed(self, error: Exception) -> None:
        self._has_failed = True
        if self.is_alone or time.monotonic() - self._heard_at < ALIVE_SECONDS:
            return
        self.is_alone = True
        self._others = 0
        log.warning("upstreams.alone", kind=type(error).__name__)
        for member in self._members.all():
            member.told(NOBODY)
        for group in self._members.groups():
            group.serve()
