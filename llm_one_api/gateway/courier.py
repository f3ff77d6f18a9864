"""Carries what calls ask of the limit store: those that ask at the same moment share a round trip.

While the store is away nobody waits for it: the first calls that notice take 50 ms at most, all others are told at
once, and a look every second finds out when it is back.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gevent
import structlog
from gevent.event import AsyncResult, Event

from llm_one_api.stores.limits.messages import Admit, Cancel, Done, Op, Renew, Reply

log = structlog.get_logger()

TOGETHER = 64
"""Calls that share a round trip at most: the store works on nothing else meanwhile."""
LOOK_EVERY = 1.0
PATIENCE = 0.05
"""Seconds that the store has to answer."""
AT_FIRST = 0.1
"""Seconds that a call waits for the first answer of all: to find a server by its name and to log in takes steps, of
which each may take its time. Later connections are made by who looks whether the store is back, so nobody waits."""
A_LOOK = Renew(id="look", tokens=0, nanos=0, windows=(), concurrent=["look"])
"""Writes something: a replica, or a server without memory left, answers whatever does not."""
_MOST_UNTOLD = 10_000
"""What is kept of what nobody waits for, while the store is away; a lease ends by itself."""


class Away(Exception):
    """The limit store does not answer."""


class Store(Protocol):
    """What the courier needs of the limit store."""

    def run(self, ops: Sequence[Op]) -> Sequence[Reply]:
        """Do all of *ops*, in their order, and reply to the admissions. Raises if there is no answer in time."""


class Courier:
    """One process's way to the limit store."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask nothing yet: `start` begins, on the hub of its thread."""
        self._store = store
        self._clock = clock
        self._asked: deque[tuple[Admit, Any]] = deque()
        self._told: deque[Renew | Done | Cancel] = deque()
        self._something = Event()
        self._busy = False
        self._has_met = False
        """Whether it is known if the store is there."""
        self._is_late = False
        """Whether the first answer takes long."""
        self._greenlet: Any = None
        self.away_since: float | None = None
        """When it was noticed (`time.time()`) that the store is away; None: it is there."""

    def start(self) -> None:
        """Begin to carry."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._carry)

    def stop(self, seconds: float = 1.0) -> None:
        """Carry what is there, *seconds* at most, and end."""
        if self._greenlet is not None:
            until = self._clock() + seconds
            while (self._busy or self._told or self._asked) and self.away_since is None and self._clock() < until:
                gevent.sleep(0.01)
            self._greenlet.kill()
            self._greenlet = None

    def ask(self, admit: Admit) -> Reply:
        """Have a call admitted. Raises Away; what the store may have reserved all the same is given back to it then."""
        if self.away_since is not None or (self._is_late and not self._has_met):
            raise Away
        waiter = AsyncResult()
        self._asked.append((admit, waiter))
        self._something.set()
        reply: Reply | None = None
        try:
            reply = waiter.wait(None if self._has_met else AT_FIRST)
            if reply is None:
                self._is_late = not waiter.ready()
                raise Away
        finally:  # also of a call that is killed while it waits
            if reply is None:
                self._asked = deque(one for one in self._asked if one[1] is not waiter)
                self.tell(Cancel(id=admit.id, concurrent=[slot[0] for slot in admit.concurrent]))
        return reply

    def tell(self, op: Renew | Done | Cancel) -> None:
        """Have it done soon; nobody waits for it."""
        if len(self._told) < _MOST_UNTOLD:
            self._told.append(op)
            self._something.set()

    def _carry(self) -> None:
        while True:
            self._something.wait()
            asked = [self._asked.popleft() for _ in range(min(TOGETHER, len(self._asked)))]
            # What calls have given back comes first: those that ask now may need it.
            told = [self._told.popleft() for _ in range(min(TOGETHER, len(self._told)))]
            if not asked and not told:
                self._something.clear()
                continue
            self._busy = True
            try:
                replies = self._store.run([*told, *[admit for admit, _ in asked]])
                self._has_met = True
                for (_, waiter), reply in zip(asked, replies, strict=True):
                    waiter.set(reply)
            except Exception as error:  # whatever the client raises; who waits must not wait for ever
                self._busy = False
                self._told.extendleft(map(_again, reversed(told)))
                self._let_go(asked)
                self._await_return(error)
            self._busy = False

    def _await_return(self, error: Exception) -> None:
        """Look again and again until the store answers; meanwhile everybody is told at once."""
        self._has_met = True
        self.away_since = time.time()
        log.error("limits.away", kind=type(error).__name__)
        self._let_go(list(self._asked))
        self._asked.clear()
        while not self._answers():
            pass
        log.info("limits.back", after=round(time.time() - self.away_since, 1))
        self.away_since = None

    def _answers(self) -> bool:
        gevent.sleep(LOOK_EVERY)
        try:
            self._store.run([A_LOOK])
        except Exception:  # whatever the client raises
            return False
        return True

    def _let_go(self, asked: Sequence[tuple[Admit, Any]]) -> None:
        for _, waiter in asked:
            if not waiter.ready():
                waiter.set(None)


def _again(op: Renew | Done | Cancel) -> Renew | Done | Cancel:
    """Give what is to be said again: it may have been done, so it gives back nothing of a minute, or it might twice."""
    if isinstance(op, Done) and op.corrections:
        more = [one for one in op.corrections if one[2] > 0]
        return Done(id=op.id, concurrent=op.concurrent, corrections=more)
    return op
