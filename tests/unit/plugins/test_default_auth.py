"""The keys of the config file."""

from __future__ import annotations

import hashlib
import traceback
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from pydantic import ValidationError

from llm_one_api.plugins.default_auth import DefaultAuthPlugin
from llm_one_api.plugins.interfaces import AuthResult, PluginConfig
from llm_one_api.plugins.manager import check
from llm_one_api.values import fingerprint
from tests.harness.records import context

SECRET = "sk-canary-5e5f"


def plugin(*entries: Any, zone: str = "UTC") -> DefaultAuthPlugin:
    return DefaultAuthPlugin(PluginConfig({"api_keys": list(entries)}, context(Path(), zone=zone)))


def faults(*entries: Any) -> dict[str, str]:
    found = check("auth", ["default_auth"], {"default_auth": {"api_keys": list(entries)}})
    return {fault.path.removeprefix("auth.default_auth.api_keys").lstrip("."): fault.message for fault in found}


def test_a_key_alone_may_use_everything_and_has_no_name() -> None:
    assert plugin(SECRET).authenticate(SECRET) == AuthResult(authenticated=True)


def test_an_entry_says_who_has_the_key_and_what_it_may_do() -> None:
    auth = plugin({"key": SECRET, "user": "ann", "group": "lab", "models": ["gpt-4", "gpt-4"], "admin": True})

    assert auth.authenticate(SECRET) == AuthResult(
        authenticated=True, user="ann", group="lab", models=frozenset({"gpt-4"}), admin=True
    )


def test_a_key_may_be_configured_by_its_sha256_in_either_case() -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()

    for written in (digest, digest.upper()):
        assert plugin({"key_sha256": written, "user": "ann"}).authenticate(SECRET).user == "ann"
        assert not plugin({"key_sha256": written}).authenticate(digest).authenticated


@pytest.mark.parametrize("presented", ["", "sk", SECRET[:-1], SECRET + "x", "é", "\ud800", "密钥", "a" * 100_000])
def test_any_other_key_is_refused_in_the_same_words(presented: str) -> None:
    result = plugin(SECRET).authenticate(presented)

    assert result == AuthResult(authenticated=False, error="Incorrect API key provided.")


def test_a_disabled_key_is_told_so_without_the_key() -> None:
    result = plugin({"key": SECRET, "enabled": False, "user": "ann", "admin": True}).authenticate(SECRET)

    assert result == AuthResult(authenticated=False, error="This API key is disabled.")


@pytest.mark.parametrize(
    ("expires", "last_moment"),
    [
        ("2030-12-31", datetime(2030, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (date(2030, 12, 31), datetime(2030, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2030-12-31T18:00:00+08:00", datetime(2030, 12, 31, 9, 59, 59, tzinfo=UTC)),
        (datetime(2030, 12, 31, 10, tzinfo=UTC), datetime(2030, 12, 31, 9, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_key_works_until_it_expires_and_is_told_so_then(expires: Any, last_moment: datetime) -> None:
    auth = plugin({"key": SECRET, "expires": expires})

    with time_machine.travel(last_moment, tick=False) as clock:
        before = auth.authenticate(SECRET)
        clock.shift(1)
        after = auth.authenticate(SECRET)

    assert before.authenticated
    assert after == AuthResult(authenticated=False, error="This API key has expired.")


def test_the_last_day_of_a_key_ends_in_the_configured_zone() -> None:
    auth = plugin({"key": SECRET, "expires": "2030-12-31"}, zone="Asia/Shanghai")

    with time_machine.travel(datetime(2030, 12, 31, 15, 59, 59, tzinfo=UTC), tick=False) as clock:
        assert auth.authenticate(SECRET).authenticated
        clock.shift(timedelta(seconds=1))
        assert not auth.authenticate(SECRET).authenticated


@pytest.mark.parametrize(
    ("entry", "path", "words"),
    [
        ("", "0.key", "is empty"),
        ({"key": ""}, "0.key", "is empty"),
        ({"key": f"{SECRET}\n"}, "0.key", "a space, a line break"),
        ({"key": f"{SECRET} é"}, "0.key", "beyond ASCII"),
        ({"user": "ann"}, "0", "either key or key_sha256"),
        ({"key": SECRET, "key_sha256": "0" * 64}, "0", "either key or key_sha256"),
        ({"key_sha256": SECRET}, "0.key_sha256", "64 hex digits"),
        ({"key_sha256": hashlib.sha256(b"").hexdigest()}, "0.key_sha256", "empty key"),
        ({"key": SECRET, "expires": "soon"}, "0.expires", "must be a date such as"),
        ({"key": SECRET, "expires": 2030}, "0.expires", "must be a date such as"),
        ({"key": SECRET, "expires": "2030-12-31T18:00:00"}, "0.expires", "zone"),
        ({"key": SECRET, "admn": True}, "0.admn", "unknown setting"),
        ({"key": SECRET, "user": ""}, "0.user", "at least 1 character"),
        (7, "0", "must be a key (in quotes, if it looks like a number), or a section with key or key_sha256"),
        (None, "0", "must be a key"),
        (["sk-1"], "0", "must be a key"),
        ({"key": 456}, "0.key", "must be a text: put it in quotes"),
        ({"key": SECRET, "models": "gpt-4"}, "0.models", "must be a list"),
    ],
)
def test_an_entry_that_cannot_be_used_is_a_fault_with_its_path_and_without_the_key(
    entry: Any, path: str, words: str
) -> None:
    found = faults(entry)

    assert list(found) == [path]
    assert words in found[path]
    assert SECRET not in found[path]


def test_the_same_key_twice_is_a_fault_that_says_where_whatever_else_is_wrong() -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest().upper()

    found = faults("sk-other", {"key": SECRET}, 7, {"key_sha256": digest, "admn": True}, "", SECRET, "")

    assert {path: words for path, words in found.items() if "same" in words} == {
        "3.key_sha256": "is the same key as that of entry 1 (counted from 0)",
        "5.key": "is the same key as that of entry 1 (counted from 0)",
    }
    assert set(found) == {"2", "3.key_sha256", "3.admn", "4.key", "5.key", "6.key"}


def test_no_representation_and_no_error_shows_a_key() -> None:
    auth = plugin({"key": SECRET, "user": "ann"})
    with pytest.raises(ValidationError) as refused:
        plugin({"key": SECRET, "expires": "x"})

    told = "".join(traceback.format_exception(refused.value))
    shown = f"{auth!r} {vars(auth)!r} {refused.value} {refused.value!r} {told}"

    assert SECRET not in shown


def test_a_fingerprint_names_any_text_without_telling_it() -> None:
    assert fingerprint("sk-local-dev") == "key_" + hashlib.sha256(b"sk-local-dev").hexdigest()[:8]
    assert len({fingerprint(text) for text in ("", "é", "\ud800", "\udcff")}) == 4
