"""Errors of plugins, without secrets."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest

from llm_one_api.plugins.scrub import scrub
from tests.harness.records import context


def test_what_psycopg2_repeats_of_a_url_is_not_told() -> None:
    section = {"database_url": "postgresql://user:p%40ssw0rd@localhost:bad/stats"}
    with pytest.raises(psycopg2.Error) as refused:
        psycopg2.connect(section["database_url"])

    told = scrub(refused.value, section, None)

    assert "OperationalError" in told
    assert "ssw0rd" not in told


def test_every_text_of_a_section_is_hidden_however_deep_it_stands() -> None:
    section = {"hooks": [{"token": "tok-123456"}], "mode": "json"}

    told = scrub(ValueError("tok-123456 is no json"), section, None)

    assert told == "ValueError: *** is no json"


def test_a_short_password_in_a_url_is_hidden_also_unquoted() -> None:
    told = scrub(ValueError("login a@b failed"), {"url": "redis://u:a%40b@h/0"}, None)

    assert told == "ValueError: login *** failed"


def test_the_redis_password_is_hidden_too(tmp_path: Path) -> None:
    told = scrub(
        ValueError("no answer from redis://:hunter2@h/0"), {}, context(tmp_path, redis_url="redis://:hunter2@h/0")
    )

    assert "hunter2" not in told


def test_a_url_that_stands_nowhere_in_the_config_loses_its_password() -> None:
    assert scrub(ValueError("http://a:b@c/"), {}, None) == "ValueError: http://a:***@c/"


def test_it_is_one_line_of_bounded_length() -> None:
    told = scrub(ValueError("a\nb" * 1000), {}, None)

    assert len(told) <= 500
    assert told.startswith("ValueError: a ba b")


class UntellableError(Exception):
    def __str__(self) -> str:
        return self.args[5]  # type: ignore[no-any-return]


def test_an_error_that_cannot_say_what_it_is_has_its_name_told() -> None:
    assert scrub(UntellableError(), {}, None) == "UntellableError: (its text cannot be had: IndexError)"


def test_what_has_no_utf_8_can_be_told_in_it() -> None:
    told = scrub(ValueError("caf\udce9"), {}, None)

    assert told.encode() == b"ValueError: caf\\udce9"
