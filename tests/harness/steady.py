"""So many calls a second, whether or not the ones before were answered: callers do not wait for one another."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import Any, NamedTuple

from tests.harness.gateway import Gateway
from tests.harness.processes import wait_until
from tests.harness.product import KEY


class Answered(NamedTuple):
    """What a caller has of a call."""

    number: int
    status: int | None
    """None: there was no whole answer."""
    body: bytes
    id: str | None
    began: float
    """`time.monotonic()`."""
    seconds: float


class Steady:
    """Calls of one kind, *rate* a second; over *connections*, of which each has one call at a time, and is kept."""

    def __init__(self, connections: Sequence[HTTPConnection], body: Mapping[str, Any], *, rate: float) -> None:
        self._body = dict(body)
        self._rate = rate
        self._numbers = count()
        self._taking = threading.Lock()
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._call_on, args=(one,), daemon=True) for one in connections]
        self._began = 0.0
        self.answers: list[Answered] = []

    def start(self) -> None:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each caller finish its call."""
        self._enough.set()
        for thread in self._threads:
            thread.join(60)

    def goes_on(self, calls: int) -> None:
        """Wait until so many more calls were answered, one way or another."""
        enough = len(self.answers) + calls
        wait_until(lambda: len(self.answers) >= enough, timeout=60, what=f"{calls} more answers")

    @property
    def failed(self) -> list[Answered]:
        return [answer for answer in self.answers if answer.status != 200]

    def _call_on(self, connection: HTTPConnection) -> None:
        while True:
            with self._taking:
                number = next(self._numbers)
            if self._enough.wait(max(0.0, self._began + number / self._rate - time.monotonic())):
                connection.close()
                return
            self.answers.append(self._call(connection, number))

    def _call(self, connection: HTTPConnection, number: int) -> Answered:
        body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "user": f"caller {number}", **self._body})
        began = time.monotonic()
        try:
            connection.request(
                "POST",
                "/v1/chat/completions",
                body,
                {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, HTTPException) as error:
            connection.close()
            return Answered(number, None, repr(error).encode(), None, began, time.monotonic() - began)
        return Answered(number, answer.status, said, answer.headers["x-request-id"], began, time.monotonic() - began)


def connections(it: Gateway, number: int) -> list[HTTPConnection]:
    """Have connections to be opened by the first call over each: whichever process takes them."""
    return [HTTPConnection("127.0.0.1", it.port, timeout=30) for _ in range(number)]


def connections_to_each(it: Gateway, number: int) -> list[HTTPConnection]:
    """Open so many connections to each of the gateway's processes: while one accepts, the others are held still.

    Left to themselves, one process may well accept all that come at a time.
    """
    opened = []
    for worker in it.workers():
        others = [other for other in it.workers() if other != worker]
        try:
            for other in others:
                other.suspend()
            for connection in connections(it, number):
                connection.request("GET", "/health/live")
                connection.getresponse().read()
                opened.append(connection)
        finally:
            for other in others:
                other.resume()
    return opened


@contextmanager
def steady(over: Sequence[HTTPConnection], *, rate: float, **body: Any) -> Iterator[Steady]:
    """Keep it up for the length of a block."""
    it = Steady(over, body, rate=rate)
    it.start()
    try:
        yield it
    finally:
        it.stop()
