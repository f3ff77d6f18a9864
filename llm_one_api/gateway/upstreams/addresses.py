"""Where a name leads: looked up off the hub, now and then, and in no call's way while an older answer will do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent import socket

ADDRESS_SECONDS = 30.0
"""How long a name's addresses are used before they are looked up again."""
GONE_SECONDS = 2 * ADDRESS_SECONDS
"""How long no answer has to name an address before it counts as gone: some servers of names tell a few at a time."""
PATIENCE = 0.5
"""How long a new connection waits for addresses when there are older ones to go on with."""
TRY_AGAIN = 5.0
"""After a look-up that failed, as long as there are older addresses."""
BREATH = 1.0
"""The shortest time from one look-up to the next."""

Address = tuple[int, tuple[Any, ...]]
"""A family and what a socket's `connect` takes."""
Resolve = Callable[[str, int], Sequence[Address]]
"""Looks a name up. Raises OSError."""


def look_up(host: str, port: int) -> Sequence[Address]:
    """Ask the system, which is done in a thread: only this greenlet waits. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # what cannot be a name
        raise OSError("no such name") from None
    return [(int(family), tuple(address)) for family, _, _, _, address in found]


class Addresses:
    """The addresses of one name."""

    def __init__(
        self, host: str, port: int, *, resolve: Resolve = look_up, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Look up nothing yet."""
        self._host = host
        self._port = port
        self._resolve = resolve
        self._clock = clock
        self._found: tuple[Address, ...] = ()
        self._named: dict[Address, float] = {}
        self._looked_up = float("-inf")
        self._fresh_until = float("-inf")
        self._why = ""
        self._looking: Any = None

    def give(self, timeout: float) -> Sequence[Address]:
        """Give the addresses to try, in this order. Raises OSError, TimeoutError (none is known in *timeout* s)."""
        if self._clock() >= self._fresh_until:
            self.refresh()
            self._looking.join(min(timeout, PATIENCE) if self._found else timeout)
        if self._found:
            return self._found
        if self._looking is not None:
            raise TimeoutError("the name was not looked up in time")
        raise OSError(self._why or "no address")

    def refresh(self) -> None:
        """See to it that they are looked up if it is time to; waits for nothing."""
        if self._looking is None and self._clock() >= self._fresh_until:
            self._looking = gevent.spawn(self._look)

    def include(self, address: Address) -> bool:
        """Tell whether the name leads to *address*, or did lately."""
        return address in self._named

    def worked(self, address: Address) -> None:
        """Have *address* tried first until they are looked up again: those before it did not answer."""
        if address in self._found:
            at = self._found.index(address)
            self._found = self._found[at:] + self._found[:at]

    def suspect(self) -> None:
        """Have them looked up before they are next used: none of them answered."""
        self._fresh_until = min(self._fresh_until, self._looked_up + BREATH)

    def _look(self) -> None:
        try:
            found = tuple(dict.fromkeys(self._resolve(self._host, self._port)))
        except OSError as error:
            found, self._why = (), error.strerror or str(error)
        now = self._looked_up = self._clock()
        if found:
            self._found = found
            self._named = {address: at for address, at in self._named.items() if now - at < GONE_SECONDS}
            self._named |= dict.fromkeys(found, now)
            self._fresh_until = now + ADDRESS_SECONDS
        else:
            self._fresh_until = now + (TRY_AGAIN if self._found else BREATH)
        self._looking = None
