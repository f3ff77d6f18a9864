"""A steady, bounded load of mixed calls, whose callers write down what they saw of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import NamedTuple

import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from tests.harness.bookkeeper import KINDS, Seen, kind_of
from tests.harness.processes import wait_until
from tests.harness.product import KEY

GOOD = ("plain", "stream", "asked")
"""The kinds of which every caller sees the end."""
PATIENCE = 60.0
"""Seconds for which a caller waits for more of an answer: longer than anything here may take."""


class Answer(NamedTuple):
    """What a caller has of a call."""

    name: str
    seen: Seen
    status: int | None
    """None: no head of an answer came."""
    began: float
    """`time.monotonic()`."""
    seconds: float
    """From the request to the end, be it a good or a bad one."""
    overhead: float | None
    """Milliseconds that the gateway says it has added."""
    id: str | None
    """What the gateway calls it."""

    @property
    def ended(self) -> bool:
        """Whether the end of a whole answer was seen."""
        return self.seen == "whole"


def make(session: requests.Session, url: str, name: str) -> Answer:
    """Make the call *name*, of the kind that it says."""
    kind = KINDS[kind_of(name)]
    leaves = kind.seen == "left"
    body = {"model": "m", "user": name, "messages": [{"role": "user", "content": "hi"}], **kind.body}
    status: int | None = None
    headers: Mapping[str, str] = {}
    began = time.monotonic()
    try:
        answer = session.post(
            f"{url}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=PATIENCE,
            stream=True,
        )
        with answer:
            status, headers = answer.status_code, answer.headers
            seen = _leave(answer) if leaves and status == 200 else _see(answer, is_stream=bool(kind.body))
    except requests.RequestException as error:
        seen = "refused" if _is_refused(error) else "broken"
    seconds = time.monotonic() - began
    overhead = headers.get("x-llm-one-api-overhead-ms")
    return Answer(
        name, seen, status, began, seconds, None if overhead is None else float(overhead), headers.get("x-request-id")
    )


def _leave(answer: requests.Response) -> Seen:
    """Hang up at the first that comes, unless it is all."""
    first = next(answer.iter_content(65536), b"")
    return "whole" if b"data: [DONE]" in first else "left"


def _see(answer: requests.Response, *, is_stream: bool) -> Seen:
    content = answer.content
    if answer.status_code != 200:
        return "error"
    return "whole" if not is_stream or b"data: [DONE]" in content else "unfinished"


def _is_refused(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


class Load:
    """Callers, each of which makes one call after the other, of all *kinds* in turn, with a pause between."""

    def __init__(self, url: str, word: str, *, callers: int, pause: float, kinds: Sequence[str]) -> None:
        self._url = url
        self._word = word
        self._pause = pause
        self._kinds = kinds
        self._numbers = count()
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._call_on, daemon=True) for _ in range(callers)]
        self._under_way: dict[str, None] = {}
        self.sent: list[str] = []
        self.answers: list[Answer] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each caller finish its call, and no more."""
        self._enough.set()
        for thread in self._threads:
            thread.join(PATIENCE + 10)

    @property
    def under_way(self) -> set[str]:
        """The calls that have begun and not ended."""
        return set(self._under_way.copy())

    @property
    def ended(self) -> int:
        """How many whole answers were seen so far."""
        return sum(answer.ended for answer in self.answers)

    @property
    def broken(self) -> list[Answer]:
        """The answers whose end was not seen."""
        return [answer for answer in self.answers if not answer.ended]

    def goes_on(self, calls: int = 10) -> None:
        """Wait until so many more calls have been answered."""
        enough = self.ended + calls
        wait_until(lambda: self.ended >= enough, timeout=40, what=f"{calls} more calls are answered")

    def _call_on(self) -> None:
        with requests.Session() as session:
            while not self._enough.wait(self._pause):
                number = next(self._numbers)
                name = f"{self._word}.{self._kinds[number % len(self._kinds)]}-{number}"
                self._under_way[name] = None
                self.sent.append(name)
                self.answers.append(make(session, self._url, name))
                del self._under_way[name]


@contextmanager
def load(url: str, word: str, *, callers: int = 5, pause: float = 0.1, kinds: Sequence[str] = GOOD) -> Iterator[Load]:
    """Keep it up for the length of a block."""
    it = Load(url, word, callers=callers, pause=pause, kinds=kinds)
    it.start()
    try:
        yield it
    finally:
        it.stop()
