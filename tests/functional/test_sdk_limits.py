"""The official SDKs at a limit: they wait as they are told, and do not try again what is in vain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import openai
import pytest
import requests
from pydantic import BaseModel

from llm_one_api.stores.limits.messages import Admit
from llm_one_api.stores.limits.store import LimitStore
from llm_one_api.values import fingerprint
from tests.harness.answers import chats, messages, openai_error, refusal, whole
from tests.harness.gateway import Gateway, gateway, settings
from tests.harness.sdks import Ask, Sdk, anthropic_sdks, openai_sdks
from tests.harness.services import Valkey
from tests.harness.upstream import Conversation, Script, Upstream, scripted

PREFIX = "sdklimits:"
HI: Any = [{"role": "user", "content": "hi"}]
LIMITS: dict[str, dict[str, Any]] = {
    "minute": {"requests_per_minute": 2},
    "both": {"requests_per_minute": 50, "tokens_per_minute": 9_000},
    "large": {"tokens_per_minute": 10},
    "spent": {"total": {"tokens": 5}},
    "free": {},
}
"""By what each is for; each way of each SDK has a key of its own with them."""
WAYS = [(sdk, way) for sdk in ("openai", "anthropic") for way in ("sync", "async")]
UPSTREAMS_OWN = b"x-ratelimit-limit-requests: 9000\r\nanthropic-ratelimit-tokens-remaining: 7\r\n"


def key_of(limit: str, sdk: str, way: str) -> str:
    return f"sk-{limit}-{sdk}-{way}"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def running(upstream: Upstream, session_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    keys = {key_of(limit, *way): sets for limit, sets in LIMITS.items() for way in WAYS}
    made = settings(upstream.url)
    made["auth"]["default_auth"]["api_keys"] = [{"key": key} for key in keys]
    made["limits"] = {"keys": {fingerprint(key): sets for key, sets in keys.items() if sets}}
    made["redis"] = {"url": session_valkey.url, "key_prefix": PREFIX}
    with gateway(tmp_path_factory.mktemp("limits"), made) as it:
        yield it


@pytest.fixture
def store(session_valkey: Valkey) -> Iterator[LimitStore]:
    """The limit store, whose counters are whole."""
    it = LimitStore(session_valkey.url, PREFIX, timeout=5)
    it.recount(0, {})
    yield it
    it.close()


class Asking:
    """One way of one SDK: what is asked of it, in OpenAI's words or Anthropic's."""

    def __init__(self, name: str, way: str, running: Gateway) -> None:
        self.name = name
        self.way = way
        self._running = running
        self.error: Any = openai.RateLimitError if name == "openai" else anthropic.RateLimitError
        self.answer: BaseModel = chats.chat() if name == "openai" else messages.message()
        self.stream = (
            chats.chat_stream(*chats.WORDS) if name == "openai" else messages.message_stream(*messages.words())
        )

    def key(self, limit: str) -> str:
        return key_of(limit, self.name, self.way)

    def ask(self, limit: str, *, retries: int = 0, raw: bool = False, **body: Any) -> Any:
        """Make a call with the key for *limit*."""
        with self.ready(limit) as sdk:
            return sdk.ask(self._call(retries, raw, body))

    @contextmanager
    def ready(self, limit: str) -> Iterator[Sdk]:
        """Have a client with the key for *limit* at hand."""
        make = openai_sdks if self.name == "openai" else anthropic_sdks
        with make(self._running.url, self.key(limit)) as sdks:
            yield sdks[self.way]

    def once_more(self, sdk: Sdk) -> Any:
        """Make a call that is tried once more if it is refused."""
        return sdk.ask(self._call(1, False, {}))

    def _call(self, retries: int, raw: bool, body: dict[str, Any]) -> Ask:
        def call(client: Any) -> Any:
            client = client.with_options(max_retries=retries)
            made = client.chat.completions if self.name == "openai" else client.messages
            asked = {"model": "m", "max_tokens": 64, "messages": HI, **body}
            return (made.with_raw_response if raw else made).create(**asked)

        return call

    def refusals(self, limit: str) -> int:
        """Count the calls with the key for *limit* that were refused."""
        key = fingerprint(self.key(limit))
        return sum(record.key == key and record.status == 429 for record in self._running.records())


@pytest.fixture(params=WAYS, ids="-".join)
def asking(request: pytest.FixtureRequest, running: Gateway, upstream: Upstream, store: LimitStore) -> Asking:
    name, way = request.param
    it = Asking(name, way, running)
    upstream.answer(whole(it.answer, UPSTREAMS_OWN))
    return it


@pytest.mark.parametrize("asking", [("openai", "async"), ("anthropic", "sync")], indirect=True, ids="-".join)
def test_they_wait_for_a_full_minute_as_long_as_they_are_told(
    asking: Asking, running: Gateway, store: LimitStore
) -> None:
    scope = f"key:{fingerprint(asking.key('minute'))}"
    minute = [(scope, "rpm", 2, 1, 0)]
    with asking.ready("minute") as sdk:
        store.ahead_ms = -59_000  # so long ago that there is room again in a second or two
        store.run([Admit(id=f"{scope}-{n}", tokens=0, nanos=0, allow_unwhole=True, rates=minute) for n in "ab"])

        began = time.monotonic()
        refused = requests.post(
            f"{running.url}/v1/chat/completions",
            json={"model": "m", "messages": HI},
            headers={"Authorization": f"Bearer {asking.key('minute')}"},
            timeout=10,
        )
        answer = asking.once_more(sdk)
        seconds = time.monotonic() - began

    assert answer.id == asking.answer.model_dump()["id"]
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert int(refused.headers["retry-after"]) * 1000 >= int(refused.headers["retry-after-ms"]) > 0
    assert seconds * 1000 >= int(refused.headers["retry-after-ms"])
    assert asking.refusals("minute") == 2  # the one above, and the SDK's first


def test_they_do_not_try_again_when_a_quota_is_spent(asking: Asking) -> None:
    with pytest.raises(asking.error) as raised:
        asking.ask("spent", retries=3)

    error: Any = raised.value
    body = error.response.json()["error"]
    if asking.name == "openai":
        assert (error.type, error.code, error.param) == ("insufficient_quota", "insufficient_quota", None)
    else:
        assert (error.type, error.request_id) == ("rate_limit_error", error.response.headers["x-request-id"])
    assert f"key {fingerprint(asking.key('spent'))} may use 5 tokens in all; 0 are used" in body["message"]
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    assert asking.refusals("spent") == 1


def test_they_do_not_try_again_what_no_minute_has_room_for(asking: Asking) -> None:
    with pytest.raises(asking.error) as raised:
        asking.ask("large", retries=3)

    error: Any = raised.value
    headers = error.response.headers
    if asking.name == "openai":
        assert (error.type, error.code) == ("tokens", "rate_limit_exceeded")
    assert "Request too large" in error.response.json()["error"]["message"]
    assert headers["x-should-retry"] == "false"
    assert (headers["x-ratelimit-limit-tokens"], headers["x-ratelimit-remaining-tokens"]) == ("10", "10")
    assert asking.refusals("large") == 1


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_how_the_minute_stands_can_be_read_from_any_answer(asking: Asking, upstream: Upstream, streams: bool) -> None:
    if streams:
        upstream.answer(asking.stream)

    first = asking.ask("both", raw=True, stream=streams).headers
    second = asking.ask("both", raw=True, stream=streams).headers

    assert first["x-ratelimit-limit-requests"] == first["x-ratelimit-limit"] == "50"
    assert int(second["x-ratelimit-remaining-requests"]) == int(first["x-ratelimit-remaining-requests"]) - 1
    assert second["x-ratelimit-remaining"] == second["x-ratelimit-remaining-requests"]
    assert second["x-ratelimit-limit-tokens"] == "9000"
    assert 0 < int(second["x-ratelimit-remaining-tokens"]) < 9000
    assert second["x-ratelimit-reset-requests"].endswith("s")


def test_what_the_upstream_says_of_its_own_limits_is_told_apart(asking: Asking) -> None:
    limited = asking.ask("both", raw=True).headers
    free = asking.ask("free", raw=True).headers

    assert limited["x-upstream-ratelimit-limit-requests"] == free["x-ratelimit-limit-requests"] == "9000"
    assert limited["x-upstream-ratelimit-tokens-remaining"] == free["anthropic-ratelimit-tokens-remaining"] == "7"
    assert "anthropic-ratelimit-tokens-remaining" not in limited
    assert "x-ratelimit-limit" not in free


def reset(talk: Conversation) -> None:
    talk.reset()


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (refusal(429, openai_error("Busy.", kind="requests"), UPSTREAMS_OWN), 429),
        (refusal(500, openai_error("Broken.", kind="server_error")), 500),
        (refusal(401, openai_error("Whose?", kind="invalid_request_error")), 502),
        (reset, 502),
    ],
    ids=["its 429", "its 500", "its 401", "no answer"],
)
def test_they_can_also_be_read_from_the_answer_to_a_call_that_its_upstream_fails(
    running: Gateway, upstream: Upstream, store: LimitStore, script: Script, status: int
) -> None:
    asking = Asking("openai", "sync", running)
    upstream.answer(script)

    with pytest.raises(openai.APIStatusError) as raised:
        asking.ask("both")

    headers = raised.value.response.headers
    assert raised.value.status_code == status
    assert headers["x-ratelimit-limit-requests"] == "50"
    assert "x-should-retry" not in headers
