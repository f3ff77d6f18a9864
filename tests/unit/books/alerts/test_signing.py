"""Webhooks are signed as Standard Webhooks says: its own library takes them."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from llm_one_api.books.reports.alerts import signing

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(b"x" * 24).decode()


@given(st.text(max_size=200), st.binary(min_size=24, max_size=64))
def test_the_specifications_own_library_takes_what_we_sign(text: str, key: bytes) -> None:
    body = text.encode()
    secret = "whsec_" + base64.b64encode(key).decode()

    headers = signing.headers("0193abc", int(time.time()), body, [secret])

    Webhook(secret).verify(body, headers, json_parse=False)
    assert headers["webhook-id"] == "msg_0193abc"


def test_what_was_changed_on_the_way_is_refused() -> None:
    headers = signing.headers("1", int(time.time()), b"{}", [SECRET])

    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(b"{ }", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(b"{}", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(b"{}", {**headers, "webhook-id": "msg_2"})


def test_while_a_secret_is_replaced_both_fit() -> None:
    headers = signing.headers("1", int(time.time()), b"{}", [SECRET, OTHER])

    assert Webhook(SECRET).verify(b"{}", headers) == Webhook(OTHER).verify(b"{}", headers) == {}


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "whsec_" + "!" * 40, "whsec_" + "A" * 99]
)
def test_what_is_no_secret_is_refused_unshown(secret: str) -> None:
    with pytest.raises(ValueError, match=r"secret|too short") as caught:
        signing.key_of(secret)

    assert not secret or secret not in str(caught.value)


def test_padding_may_be_left_out() -> None:
    assert signing.key_of(SECRET.rstrip("=")) == bytes(range(32))
