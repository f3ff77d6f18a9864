"""What goes upstream: the caller's own bytes, unless a field must change."""

from __future__ import annotations

import json

import pytest

from llm_one_api.dialects import openai
from llm_one_api.gateway.endpoints import ENDPOINTS
from llm_one_api.gateway.forward import outgoing
from llm_one_api.gateway.read import Request
from llm_one_api.values import Target, Upstream

CHAT, _, EMBEDDINGS = ENDPOINTS
UPSTREAM = Upstream(name="u", base_url="http://u/v1")


def request(body: bytes) -> Request:
    asked = openai.read_request(body)
    return Request(body=body, asked=asked, stream=bool(asked.stream), plain=openai.is_plain(body))


def target(model: str = "m") -> Target:
    return Target(model="m", upstream_model=model, upstream=UPSTREAM)


def test_a_body_that_need_not_change_goes_on_as_it_came() -> None:
    body = b'{ "model" : "m",\n "messages": [{"role": "user", "content": "\xc3\xa9"}, {"role": "user"}], "x": 1.50 }'

    assert outgoing(CHAT, request(body), target()) == (body, False)


def test_usage_is_asked_for_where_the_caller_did_not() -> None:
    body = b' {"model":"m","stream":true}'

    sent, hides = outgoing(CHAT, request(body), target())

    assert hides
    assert json.loads(sent) == {"model": "m", "stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("options", [b"null", b"{}", b'{"include_usage":false,"x":1}'])
def test_other_stream_options_are_kept(options: bytes) -> None:
    body = b'{"model":"m","stream":true,"stream_options":' + options + b"}"

    sent, hides = outgoing(CHAT, request(body), target())

    assert hides
    assert json.loads(sent)["stream_options"] == {**(json.loads(options) or {}), "include_usage": True}


def test_a_caller_who_asked_for_usage_gets_it() -> None:
    body = b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'

    assert outgoing(CHAT, request(body), target()) == (body, False)


def test_an_alias_changes_the_model_and_nothing_else() -> None:
    sent, _ = outgoing(EMBEDDINGS, request(b'{"input":[1.50,"\\ud83d\\ude00"],"model":"m"}'), target("real"))

    assert sent == b'{"input":[1.50,"\\ud83d\\ude00"],"model":"real"}'


@pytest.mark.parametrize("body", [b'{"model":"cheap","model":"m"}', b'{"mod\\u0065l":"cheap","model":"m"}'])
def test_a_field_that_stands_there_twice_goes_on_once_as_we_read_it(body: bytes) -> None:
    sent, _ = outgoing(CHAT, request(body), target())

    assert json.loads(sent) == {"model": "m"}
    assert b"cheap" not in sent
