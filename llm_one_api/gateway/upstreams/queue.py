"""Calls that wait for room at the upstreams of a model: each is given its place, in the order in which they came."""

from __future__ import annotations

import time
from collections.abc import Callable

from gevent.event import Event

from llm_one_api.gateway.upstreams.member import Group
from llm_one_api.gateway.upstreams.turn import Turn
from llm_one_api.gateway.watch import Visit

_A_MOMENT = 0.01
"""Seconds: a rest is over a little after its time."""


class Waiting:
    """One call that waits. Room is taken for it by whoever finds that there is some."""

    def __init__(self, choose: Callable[[], Turn | None]) -> None:
        """Wait for what *choose* takes."""
        self._choose = choose
        self.served = Event()
        self.turn: Turn | None = None

    def take(self) -> bool:
        """Take room that the call can use; False: there is none."""
        self.turn = self._choose()
        if self.turn is None:
            return False
        self.served.set()
        return True


def wait_for_room(group: Group, choose: Callable[[], Turn | None], visit: Visit, until: float) -> Turn | None:
    """Wait until *choose* can take a turn; None: it could not by *until* (`time.monotonic()`). Raises Cut."""
    one = Waiting(choose)
    group.waiting.append(one)
    try:
        while one.turn is None and (left := until - time.monotonic()) > 0:
            back = group.back_in(time.time())
            visit.wait("queue", left + 1)
            try:
                one.served.wait(min(left, back + _A_MOMENT) if back else left)
            finally:
                visit.go_on()
            if one.turn is None:
                group.serve()  # somebody may be back
    except BaseException:
        if one.turn is not None:
            one.turn.over()
        raise
    finally:
        if one in group.waiting:
            group.waiting.remove(one)
    return one.turn
