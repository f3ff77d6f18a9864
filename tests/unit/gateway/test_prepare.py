"""What goes upstream: the caller's own bytes, unless a field must change."""

from __future__ import annotations

import json

import pytest

from llm_one_api.dialects import asked
from llm_one_api.errors import BadRequest
from llm_one_api.gateway.endpoints import ENDPOINTS
from llm_one_api.gateway.prepare import REMEMBERED, Outgoing, Prepare
from llm_one_api.gateway.read import Request
from llm_one_api.targets import Adapter, Target, Upstream
from llm_one_api.values import Call
from tests.harness.calls import NoBody

ROWS = {endpoint.name: endpoint for endpoint in ENDPOINTS}
UPSTREAM = Upstream(name="u", base_url="http://u/v1", api_key="k")


def request(body: bytes) -> Request:
    found = asked.read_request(body)
    return Request(
        model=found.model, body=body, asked=found, stream=bool(found.stream), plain=asked.is_plain(body)
    )  # fmt: skip


def call(endpoint: str, *headers: tuple[str, str], method: str = "POST", path: str = "", query: str = "") -> Call:
    return Call(
        id="1", started=0.0, endpoint=endpoint, api_key="", method=method, path=path or ROWS[endpoint].path,
        query=query,
        headers=headers, body=NoBody(),
    )  # fmt: skip


def prepare(body: bytes, target: Target, endpoint: str = "chat") -> tuple[bytes, bool]:
    ready = Prepare()(call(endpoint), ROWS[endpoint], request(body), target)
    return ready.body, ready.hides_usage


def head(ready: Outgoing) -> list[str]:
    return ready.head.decode().splitlines()


def target(model: str = "m") -> Target:
    return Target(model="m", upstream_model=model, upstream=UPSTREAM)


def test_a_body_that_need_not_change_goes_on_as_it_came() -> None:
    body = b'{ "model" : "m",\n "messages": [{"role": "user", "content": "\xc3\xa9"}, {"role": "user"}], "x": 1.50 }'

    assert prepare(body, target()) == (body, False)


def test_usage_is_asked_for_where_the_caller_did_not() -> None:
    body = b' {"model":"m","stream":true}'

    sent, hides = prepare(body, target())

    assert hides
    assert json.loads(sent) == {"model": "m", "stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("options", [b"null", b"{}", b'{"include_usage":false,"x":1}'])
def test_other_stream_options_are_kept(options: bytes) -> None:
    body = b'{"model":"m","stream":true,"stream_options":' + options + b"}"

    sent, hides = prepare(body, target())

    assert hides
    assert json.loads(sent)["stream_options"] == {**(json.loads(options) or {}), "include_usage": True}


def test_a_caller_who_asked_for_usage_gets_it() -> None:
    body = b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'

    assert prepare(body, target()) == (body, False)


def test_an_alias_changes_the_model_and_nothing_else() -> None:
    sent, _ = prepare(b'{"input":[1.50,"\\ud83d\\ude00"],"model":"m"}', target("real"), "embeddings")

    assert sent == b'{"input":[1.50,"\\ud83d\\ude00"],"model":"real"}'


@pytest.mark.parametrize("body", [b'{"model":"cheap","model":"m"}', b'{"mod\\u0065l":"cheap","model":"m"}'])
def test_a_field_that_stands_there_twice_goes_on_once_as_we_read_it(body: bytes) -> None:
    sent, _ = prepare(body, target())

    assert json.loads(sent) == {"model": "m"}
    assert b"cheap" not in sent


def test_an_upstream_that_refuses_to_be_asked_for_usage_is_not_asked_for_an_hour() -> None:
    now = [0.0]
    prepare = Prepare(clock=lambda: now[0])
    body = request(b'{"model":"m","stream":true}')
    ready = prepare(call("chat"), ROWS["chat"], body, target())

    prepare.refused(ready)
    unasked = prepare(call("chat"), ROWS["chat"], body, target())
    other = prepare(call("chat"), ROWS["chat"], body, target("another"))
    now[0] = REMEMBERED
    later = prepare(call("chat"), ROWS["chat"], body, target())

    assert [r.hides_usage for r in (ready, unasked, other, later)] == [True, False, True, True]
    assert ready.unasked() == unasked.body == body.body


@pytest.mark.parametrize(
    ("adapter", "endpoint", "line", "key"),
    [
        ("openai", "chat", "POST /v1/chat/completions HTTP/1.1", "Authorization: Bearer k"),
        ("anthropic", "chat", "POST /v1/messages HTTP/1.1", "x-api-key: k"),
        ("anthropic", "messages", "POST /v1/messages HTTP/1.1", "x-api-key: k"),
        ("anthropic", "count_tokens", "POST /v1/messages/count_tokens HTTP/1.1", "x-api-key: k"),
        (
            "azure",
            "chat",
            "POST /v1/openai/deployments/my%20one/chat/completions?api-version=2024-10-21 HTTP/1.1",
            "api-key: k",
        ),
        ("azure", "responses", "POST /v1/openai/responses?api-version=2024-10-21 HTTP/1.1", "api-key: k"),
    ],
)
def test_each_adapter_has_its_paths_and_shows_the_key_in_its_way(
    adapter: Adapter, endpoint: str, line: str, key: str
) -> None:
    upstream = Upstream(name="u", base_url="http://u/v1", api_key="k", adapter=adapter, api_version="2024-10-21")
    body = request(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')

    ready = Prepare()(
        call(endpoint), ROWS[endpoint], body, Target(model="m", upstream_model="my one", upstream=upstream)
    )

    assert head(ready)[0] == line
    assert [told for told in head(ready) if told.partition(": ")[2] in {"k", "Bearer k"}] == [key]


def test_a_version_that_the_caller_names_goes_before_ours() -> None:
    upstream = Upstream(name="u", base_url="http://u/v1", adapter="anthropic")
    prepare, body = Prepare(), request(b'{"model":"m"}')
    to = Target(model="m", upstream_model="m", upstream=upstream)

    named = prepare(call("messages", ("anthropic-version", "2099-01-01")), ROWS["messages"], body, to)
    unnamed = prepare(call("messages"), ROWS["messages"], body, to)

    assert [line for line in head(named) if "version" in line] == ["anthropic-version: 2099-01-01"]
    assert [line for line in head(unnamed) if "version" in line] == ["anthropic-version: 2023-06-01"]


def test_what_is_translated_has_our_version_whatever_the_caller_says() -> None:
    upstream = Upstream(name="u", base_url="http://u/v1", adapter="anthropic")
    body = request(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    asking = call("chat", ("anthropic-version", "2099-01-01"), ("anthropic-beta", "x"), ("User-Agent", "a"))

    ready = Prepare()(asking, ROWS["chat"], body, Target(model="m", upstream_model="m", upstream=upstream))

    assert [line for line in head(ready) if "anthropic" in line] == ["anthropic-version: 2023-06-01"]
    assert "User-Agent: a" in head(ready)


@pytest.mark.parametrize(("adapter", "endpoint"), [("anthropic", "embeddings"), ("azure", "messages")])
def test_what_an_upstream_does_not_have_is_told_by_name(adapter: Adapter, endpoint: str) -> None:
    upstream = Upstream(name="u", base_url="http://u/v1", adapter=adapter)

    with pytest.raises(BadRequest, match=f"adapter: {adapter}") as refused:
        Prepare()(
            call(endpoint),
            ROWS[endpoint],
            request(b'{"model":"m"}'),
            Target(model="m", upstream_model="m", upstream=upstream),
        )

    assert refused.value.code == "unsupported_endpoint"


def test_an_id_and_its_query_go_upstream() -> None:
    asking = call("response", method="GET", path="/v1/responses/resp_1", query="stream=true&include[]=a")

    ready = Prepare()(asking, ROWS["response"], Request(model=""), target())

    assert head(ready)[0] == "GET /v1/responses/resp_1?stream=true&include[]=a HTTP/1.1"
    assert ready.body == b""
