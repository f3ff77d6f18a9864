"""The official SDKs in their two ways, blocking and under asyncio: a test says once what is asked of the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import anthropic
import openai

from llm_one_api.values import UsageRecord
from tests.harness.product import KEY, OTHER_KEY
from tests.harness.upstream import Upstream

UPSTREAM_KEY = b"sk-upstream-secret-0009"
Ask = Callable[[Any], Any]
"""Calls a method of the client, which may be of either kind: so nothing more is known of it."""


class Seen(NamedTuple):
    """What a caller got out of a stream."""

    events: list[Any]
    final: Any
    """What the SDK put together out of them, if it was asked to."""
    request_id: str
    error: Exception | None
    """What was raised after them."""


class Sdk(Protocol):
    """A client."""

    name: str

    def ask(self, ask: Ask) -> Any:
        """Give what comes back. Raises what the SDK raises."""

    def stream(self, ask: Ask) -> Seen:
        """Read a stream to its end or to its error."""

    def enter(self, ask: Ask, *, each: str = "", final: str = "") -> Seen:
        """Read what a context manager opens: itself, or what its method *each* gives; then ask its method *final*."""


class Blocking:
    """A client that blocks."""

    name = "sync"

    def __init__(self, client: Any) -> None:
        self._client = client

    def ask(self, ask: Ask) -> Any:
        return ask(self._client)

    def stream(self, ask: Ask) -> Seen:
        with ask(self._client) as opened:
            return self._read(opened, opened, "")

    def enter(self, ask: Ask, *, each: str = "", final: str = "") -> Seen:
        with ask(self._client) as opened:
            return self._read(opened, getattr(opened, each)() if each else opened, final)

    @staticmethod
    def _read(opened: Any, source: Iterable[Any], final: str) -> Seen:
        events: list[Any] = []
        try:
            for event in source:
                events.append(event)  # noqa: PERF402 (what came before an error counts)
            end = getattr(opened, final)() if final else None
        except Exception as error:
            return Seen(events, None, _id(opened), error)
        return Seen(events, end, _id(opened), None)


class Asyncio:
    """A client for asyncio, always in the same loop."""

    name = "async"

    def __init__(self, client: Any, loop: asyncio.Runner) -> None:
        self._client = client
        self._loop = loop

    def ask(self, ask: Ask) -> Any:
        async def asked() -> Any:
            return await ask(self._client)

        return self._loop.run(asked())

    def stream(self, ask: Ask) -> Seen:
        async def read() -> Seen:
            async with await ask(self._client) as opened:
                return await self._read(opened, opened, "")

        return self._loop.run(read())

    def enter(self, ask: Ask, *, each: str = "", final: str = "") -> Seen:
        async def read() -> Seen:
            async with ask(self._client) as opened:
                return await self._read(opened, getattr(opened, each)() if each else opened, final)

        return self._loop.run(read())

    @staticmethod
    async def _read(opened: Any, source: AsyncIterable[Any], final: str) -> Seen:
        events: list[Any] = []
        try:
            async for event in source:
                events.append(event)
            end = await getattr(opened, final)() if final else None
        except Exception as error:
            return Seen(events, None, _id(opened), error)
        return Seen(events, end, _id(opened), None)


def _id(opened: Any) -> str:
    """Tell our id of the call: in the answer's headers, wherever the SDK keeps them."""
    for name in ("response", "_response", "http_response"):
        if hasattr(opened, name):
            return str(getattr(opened, name).headers["x-request-id"])
    return str(opened.headers["x-request-id"])


@contextmanager
def _both(blocking: Any, asynchronous: Any) -> Iterator[dict[str, Sdk]]:
    with blocking, asyncio.Runner() as loop:
        try:
            yield {"sync": Blocking(blocking), "async": Asyncio(asynchronous, loop)}
        finally:
            loop.run(asynchronous.close())


@contextmanager
def openai_sdks(url: str, key: str = KEY) -> Iterator[dict[str, Sdk]]:
    """Make both clients of OpenAI; they try once, unless a call says otherwise."""
    told: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": key, "max_retries": 0, "timeout": 20}
    with _both(openai.OpenAI(**told), openai.AsyncOpenAI(**told)) as sdks:
        yield sdks


@contextmanager
def anthropic_sdks(url: str, key: str = KEY) -> Iterator[dict[str, Sdk]]:
    """Make both clients of Anthropic; they try once, unless a call says otherwise."""
    told: dict[str, Any] = {"base_url": url, "api_key": key, "max_retries": 0, "timeout": 20}
    with _both(anthropic.Anthropic(**told), anthropic.AsyncAnthropic(**told)) as sdks:
        yield sdks


def check(record: UsageRecord, **expected: Any) -> None:
    """See that a record has these members."""
    assert {name: getattr(record, name) for name in expected} == expected


def only_our_key(upstream: Upstream) -> None:
    """See that each call which the upstream has seen had our key, as it wants it, and nowhere its caller's."""
    for talk in upstream.seen:
        shown = [line.partition(b": ")[2] for line in talk.head.split(b"\r\n") if UPSTREAM_KEY in line]
        assert shown in ([UPSTREAM_KEY], [b"Bearer " + UPSTREAM_KEY])
        assert not [key for key in (KEY, OTHER_KEY) if key.encode() in talk.head + talk.body]
