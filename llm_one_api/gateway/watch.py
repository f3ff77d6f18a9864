"""Sees to it that no call waits for ever: one timer a process looks at all calls four times a second.

It ends calls whose upstream deadline passed, whose caller left (also before the first byte) or does not read, and
those that are left when the process has to stop. A call in the hub's hands costs nothing in between: no timer
object per read, no system call but one `poll` a tick for all callers together.

Ending a call means throwing a `Cut` into the greenlet that waits; it is thrown only while that greenlet waits for the
network (`Visit.state`), so it can surface in no other place.
"""

from __future__ import annotations

import fcntl
import select
import termios
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gevent
from gevent.monkey import get_original

from llm_one_api.gateway.pulse import Pulse
from llm_one_api.values import OnClientGone

TICK = 0.25
_POLLGONE = select.POLLERR | select.POLLHUP | select.POLLNVAL

Why = Literal[
    "queue", "connect", "first_byte", "idle", "total", "body", "client_gone", "client_stalled", "draining", "bounds"
]


class Cut(Exception):
    """Thrown into a call that has to end."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why: Why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long what may last (seconds), and what a caller's leaving means."""

    max_streams: int = 2000
    body_timeout: float = 60.0
    client_stall_timeout: float = 60.0
    on_client_gone: OnClientGone = "cut"
    half_close: Literal["gone", "allow"] = "gone"
    drain_seconds: float = 60.0
    drain_bytes: int = 4 * 1024 * 1024


class Visit:
    """A call in the house, as the watch sees it."""

    __slots__ = (
        "_began",
        "client_fd",
        "client_gone",
        "cut_for",
        "deadline",
        "drains",
        "greenlet",
        "key",
        "patience",
        "queued",
        "since",
        "state",
        "total_deadline",
        "waited",
        "why",
    )  # fmt: skip

    def __init__(self, client_fd: int, greenlet: Any, *, drains: bool, key: str = "") -> None:
        self.client_fd = client_fd
        self.key = key
        """Whose call it is."""
        self.drains = drains
        """Whether the upstream is read on when the caller has left."""
        self.greenlet = greenlet
        self.state: Literal["", "upstream", "caller"] = ""
        """What the greenlet waits for."""
        self.why: Why = "idle"
        """What the deadline is for."""
        self.deadline = 0.0
        """When an end has to be made; 0: `patience` seconds after the watch has next looked."""
        self.patience = 0.0
        self.total_deadline = float("inf")
        self.since = 0.0
        self.queued = -1
        self.client_gone = False
        self.cut_for: Why | None = None
        """Why the watch ended it, if it did."""
        self.waited = 0.0
        """Seconds spent waiting for others so far: what is not our overhead."""
        self._began = 0.0

    def wait(self, why: Why, seconds: float) -> None:
        """Say that from now on an upstream (or a body) is waited for, *seconds* at most."""
        self.why = why
        self._began = now = time.monotonic()
        self.deadline = now + seconds
        self.state = "upstream"

    def listen(self, why: Why, seconds: float) -> None:
        """Say that more of an answer that has begun is waited for.

        Said for each event, so it looks at no clock: the watch does at its next tick. Nor does it count in `waited`.
        """
        self.why = why
        self.patience = seconds
        self.deadline = 0.0
        self.state = "upstream"

    def wait_caller(self) -> None:
        """Say that from now on the caller is written to. Looks at no clock either."""
        self.since = 0.0
        self.queued = -1
        self.state = "caller"

    def go_on(self) -> None:
        """Say that nothing is waited for any more."""
        self.state = ""
        if self._began:
            self.waited += time.monotonic() - self._began
            self._began = 0.0


class Watch:
    """All calls of this process. Belongs to one hub; `start` after the fork."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch nobody yet."""
        self.bounds = bounds
        self._clock = clock
        self._visits: set[Visit] = set()
        self._by_fd: dict[int, Visit] = {}
        self._poll = get_original("select", "poll")()
        self._mask = _POLLGONE if bounds.half_close == "allow" else _POLLGONE | select.POLLRDHUP
        self._drain_at = float("inf")
        self._timer: Any = None
        self._pulse = Pulse(clock)
        self.draining = False

    @property
    def active(self) -> int:
        """Calls in the house."""
        return len(self._visits)

    def calls(self) -> Mapping[str, tuple[int, int]]:
        """Count, by whose they are, the calls in the house, and those that came in the last minute."""
        found = {key: (0, came) for key, came in self._pulse.by_key().items()}
        for visit in self._visits:
            under_way, came = found.get(visit.key, (0, 0))
            found[visit.key] = (under_way + 1, came)
        return found

    def start(self) -> None:
        """Start the timer, on this thread's hub."""
        if self._timer is None:
            self._timer = gevent.get_hub().loop.timer(TICK, repeat=TICK)
            self._timer.start(self.tick)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def drain(self, seconds: float) -> None:
        """End what is still here in *seconds*."""
        self.draining = True
        self._drain_at = self._clock() + seconds

    def enter(self, client_fd: int, on_client_gone: OnClientGone | None = None, key: str = "") -> Visit:
        """Begin to watch a call of *key*, whose caller is at *client_fd* (-1: unknown).

        The caller may have its own *on_client_gone*.
        """
        drains = (on_client_gone or self.bounds.on_client_gone) == "drain"
        visit = Visit(client_fd, gevent.getcurrent(), drains=drains, key=key)
        self._visits.add(visit)
        self._pulse.beat(key)
        if client_fd >= 0:
            self._by_fd[client_fd] = visit
            self._poll.register(client_fd, self._mask)
        return visit

    def leave(self, visit: Visit) -> None:
        """Watch it no longer. May be said twice."""
        if visit not in self._visits:
            return
        self._visits.discard(visit)
        fd = visit.client_fd
        if fd >= 0 and self._by_fd.get(fd) is visit:
            del self._by_fd[fd]
            self._poll.unregister(fd)

    def tick(self) -> None:
        """Look at everybody once. Runs in the hub: it must neither block nor raise."""
        self._pulse.turn()
        for fd, _ in self._poll.poll(0):
            left = self._by_fd.get(fd)
            if left is not None:  # else it went while another was thrown out
                self._caller_left(left)
        now = self._clock()
        if now >= self._drain_at:
            for visit in [v for v in self._visits if v.state]:
                self._cut(visit, "draining")
            return
        late: list[tuple[Visit, Why]] = []
        for visit in self._visits:
            if visit.state == "upstream":
                if not visit.deadline:
                    visit.deadline = now + visit.patience
                if now >= visit.deadline:
                    late.append((visit, visit.why))
                elif now >= visit.total_deadline:
                    late.append((visit, "client_gone" if visit.client_gone else "total"))
            elif visit.state == "caller" and self._stalled(visit, now):
                late.append((visit, "client_stalled"))
        for visit, why in late:
            self._cut(visit, why)

    def read_on(self, visit: Visit) -> None:
        """Let a call whose caller left go on to learn its usage, for so long and no longer."""
        visit.client_gone = True
        visit.total_deadline = min(visit.total_deadline, self._clock() + self.bounds.drain_seconds)

    def _caller_left(self, visit: Visit) -> None:
        if not visit.state:
            return  # it waits for something of ours: it is looked at again at the next tick
        self._by_fd.pop(visit.client_fd, None)
        self._poll.unregister(visit.client_fd)
        visit.client_gone = True
        if visit.state == "caller" or not visit.drains:
            self._cut(visit, "client_gone")
        else:
            self.read_on(visit)

    def _stalled(self, visit: Visit, now: float) -> bool:
        """Tell whether the caller has taken nothing for too long: since `visit.since` its queue stood still."""
        if not visit.since:
            visit.since = now
        if now - visit.since < min(5.0, self.bounds.client_stall_timeout / 2):
            return False
        queued = _unsent(visit.client_fd)
        if queued != visit.queued:
            visit.queued = queued
            visit.since = now
            return False
        return now - visit.since >= self.bounds.client_stall_timeout

    def _cut(self, visit: Visit, why: Why) -> None:
        state, visit.state = visit.state, ""
        if state:
            visit.cut_for = why
            visit.greenlet.throw(Cut(why))


def _unsent(fd: int) -> int:
    """Count the bytes that the kernel still has to send on socket *fd*."""
    if fd < 0:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0"), "little")
    except OSError:
        return 0
