"""A steady, bounded load of mixed calls, an upstream that writes down what it did, and a judge of what was counted.

Each call carries a name of its own in the body's `user`, which its record has as `end_user`; its tokens follow from
the name, so that whose they are can be told wherever they turn up.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import requests

from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import UsageRecord
from tests.harness.processes import wait_until
from tests.harness.product import KEY
from tests.harness.upstream import DONE, FINISH, STREAM_HEAD, Conversation, Upstream, chunk, delta, json_answer

EVENTS, EVENT_SECONDS = 6, 0.03
OUTPUT_TOKENS = 5


def input_tokens(name: str) -> int:
    """Tell how many tokens the upstream says that the call *name* had as input."""
    return 1000 + int(name.rpartition("-")[2])


class Bookkeeper(Upstream):
    """An upstream that takes a while to answer, and writes down which calls it received.

    And of which it has sent the end, just before it does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.received: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.in_hand: set[str] = set()
        """The calls that it is answering now."""
        self.answer(self._take)

    def _take(self, talk: Conversation) -> None:
        body = json.loads(talk.body)
        self.received[body["user"]] += 1
        self.in_hand.add(body["user"])
        try:
            self._answer(talk, body)
        finally:
            self.in_hand.remove(body["user"])

    def _answer(self, talk: Conversation, body: dict[str, Any]) -> None:
        name = body["user"]
        tokens = input_tokens(name)
        used = {"prompt_tokens": tokens, "completion_tokens": OUTPUT_TOKENS, "total_tokens": tokens + OUTPUT_TOKENS}
        made = {"id": name, "created": 1, "model": "demo-2026", "usage": used}
        if body.get("stream"):
            talk.send(STREAM_HEAD)
            for number in range(EVENTS):
                talk.send(chunk(delta(f"{number} ")))
                talk.go.wait(EVENT_SECONDS)
            usage = {**made, "object": "chat.completion.chunk", "choices": []}
            end = chunk(FINISH) + chunk(b"data: %b\n\n" % json.dumps(usage).encode()) + chunk(DONE) + b"0\r\n\r\n"
            self.finished[name] += 1
            talk.send(end)
        else:
            talk.go.wait(EVENTS * EVENT_SECONDS / 2)
            choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
            answer = json.dumps({**made, "object": "chat.completion", "choices": [choice]}).encode()
            self.finished[name] += 1
            json_answer(200, answer)(talk)


@contextmanager
def bookkeeper() -> Iterator[Bookkeeper]:
    """Run one for the length of a block."""
    upstream = Bookkeeper()
    try:
        yield upstream
    finally:
        upstream.close()


class Answer(NamedTuple):
    """What a caller has of a call."""

    name: str
    status: int | None
    """None: the connection broke."""
    ended: bool
    """The caller saw the end of a whole answer."""
    seconds: float
    """From the request to the end, be it a good or a bad one."""
    overhead: float
    """Milliseconds that the gateway says it has added."""


class Load:
    """Callers, each of which makes one call after the other, in turn a stream and not, with a pause between."""

    def __init__(self, url: str, word: str, *, callers: int, pause: float) -> None:
        self._url = url
        self._word = word
        self._pause = pause
        self._numbers = count()
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._call_on, daemon=True) for _ in range(callers)]
        self.sent: list[str] = []
        self.answers: list[Answer] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each caller finish its call, and no more."""
        self._enough.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a call does not end"

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
                self._call(session, f"{self._word}-{number}", stream=number % 3 > 0, include_usage=number % 3 > 1)

    def _call(self, session: requests.Session, name: str, *, stream: bool, include_usage: bool) -> None:
        body: dict[str, Any] = {"model": "m", "user": name, "messages": [{"role": "user", "content": "hi"}]}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": include_usage}}
        self.sent.append(name)
        status, ended, overhead, began = None, False, 0.0, time.monotonic()
        try:
            answer = session.post(
                f"{self._url}/v1/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {KEY}"},
                timeout=30,
            )
            status, overhead = answer.status_code, float(answer.headers["x-llm-one-api-overhead-ms"])
            ended = status == 200 and (b"data: [DONE]" in answer.content or not stream)
        except requests.RequestException:
            pass
        self.answers.append(Answer(name, status, ended, time.monotonic() - began, overhead))


@contextmanager
def load(url: str, word: str, *, callers: int = 5, pause: float = 0.1) -> Iterator[Load]:
    """Keep it up for the length of a block."""
    it = Load(url, word, callers=callers, pause=pause)
    it.start()
    try:
        yield it
    finally:
        it.stop()


class Books:
    """What stands in a ledger, in its order."""

    def __init__(self, url: str) -> None:
        self._ledger = Ledger(url)
        self._records: list[UsageRecord] = []

    def records(self) -> list[UsageRecord]:
        """Give all that is there by now, whose numbers have no gaps."""
        while fresh := self._ledger.read(len(self._records), 1000):
            assert [each.seq for each in fresh] == [len(self._records) + n for n in range(1, len(fresh) + 1)]
            self._records += [each.record for each in fresh]
        return list(self._records)

    def of(self, names: Collection[str]) -> list[UsageRecord]:
        """Give the records of calls with these names."""
        wanted = set(names)
        return [record for record in self.records() if record.end_user in wanted]

    def close(self) -> None:
        self._ledger.close()


@contextmanager
def books(url: str) -> Iterator[Books]:
    """Read a ledger for the length of a block."""
    it = Books(url)
    try:
        yield it
    finally:
        it.close()


def settle(it: Load, upstream: Bookkeeper, kept: Books, *, timeout: float = 60.0) -> Counter[str]:
    """Wait until all that *upstream* received of a load that is over is counted, then judge it."""
    mine = set(it.sent)
    received = {name: times for name, times in upstream.received.items() if name in mine}
    wait_until(
        lambda: received.keys() <= {record.end_user for record in kept.of(mine)},
        timeout=timeout,
        every=0.1,
        what="every call that reached the upstream is in the ledger",
    )
    return judge(it, received, upstream.finished, kept.of(mine))


def judge(
    it: Load, received: Mapping[str, int], finished: Mapping[str, int], records: list[UsageRecord]
) -> Counter[str]:
    """Compare what is kept with what was done; gives the number of calls by outcome."""
    times = Counter(record.end_user for record in records)
    of: dict[str | None, UsageRecord] = {record.end_user: record for record in records}
    assert {name: n for name, n in times.items() if n != 1} == {}, "counted more than once"
    assert {name: n for name, n in received.items() if n != 1} == {}, "sent upstream more than once"
    assert received.keys() - of.keys() == set(), "never counted"
    never_there = [record for name, record in of.items() if name not in received]
    assert {record.outcome for record in never_there} <= {"aborted"}, "counted as if it had been upstream"
    for record in records:
        assert record.end_user
        if record.outcome == "success":
            assert (record.usage.prompt_tokens, record.usage_source) == (input_tokens(record.end_user), "reported")
            assert finished[record.end_user] == 1, "counted as a success before its end"
    unpaid = [answer.name for answer in it.answers if answer.ended and of[answer.name].outcome != "success"]
    assert unpaid == [], "its caller saw the end, and its tokens are lost"
    return Counter(record.outcome for record in records)
