"""YAML, hostile and not, and `${ENV}`."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from llm_one_api.errors import ConfigError
from tests.unit.settings.loader import Loader, targets_of

MODEL = "models:\n  m:\n    api_base: http://h/v1\n"


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\ufeff", "null\n", "{}\n"])
def test_a_file_with_nothing_in_it_means_the_defaults(config: Loader, text: str) -> None:
    settings = config(text)

    assert settings.server.port == 8000


def test_a_byte_order_mark_is_no_part_of_the_first_name(config: Loader) -> None:
    settings = config(b"\xef\xbb\xbfserver:\r\n  port: 81\r\n")

    assert settings.server.port == 81


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"server:\n  host: caf\xe9\n", "the file (line 2): is not UTF-8 text"),
        ("server:\n  port: 1\n".encode("utf-16"), "the file (line 1): is not UTF-8 text"),
        ("server:\n\tport: 1\n", "the file (line 2): a tab where YAML wants spaces"),
        ("server:\n  host: a\0b\n", "the file (line 2): has a control character"),
        ("server: {port: 1\nledger:\n", "the file (line 2): is not YAML: while parsing a flow mapping"),
        ("a: 1\n---\nb: 2\n", "the file (line 2): is not YAML: expected a single document"),
        ("- server\n- ledger\n", "the file (line 1): must be sections (lines of name: value)"),
        ("just text\n", "the file (line 1): must be sections (lines of name: value)"),
        ("server:\n  host: *nowhere\n", "the file (line 2): an alias (*name) refers to nothing"),
        ("a: 1\nb: &x {c: *x}\n", "b.c (line 2): an alias (*name) refers to what it stands in"),
        ("server:\n  ? [a]\n  : 1\n", "server (line 2): a name must be a text"),
        ("server:\n  host: !!python/object/apply:os.system [id]\n", "server.host (line 2): a tag (!…) is not allowed"),
        ("server:\n  host: !!binary aGk=\n", "server.host (line 2): a tag (!…) is not allowed"),
        ("!!python/object:x.Y {}\n", "the file (line 1): a tag (!…) is not allowed"),
        ("!!python/name:os.system :\n  1\n", "the file (line 1): a name must have no tag"),
        ("stats:\n  log:\n    day: 2026-13-45\n", "stats.log.day (line 3): looks like a number or a date"),
        ("stats:\n  log:\n    n: !!int many\n", "stats.log.n (line 3): looks like a number or a date"),
    ],
)
def test_what_is_no_config_is_refused_with_its_line(config: Loader, text: str | bytes, fault: str) -> None:
    faults = config.faults(text)

    assert any(told.startswith(fault) for told in faults)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 50_000, "a:\n" + "".join(" " * n + "- \n" for n in range(99))]
)
def test_deep_nesting_is_refused_and_not_followed(config: Loader, text: str) -> None:
    faults = config.faults(text)

    assert "nested more than" in faults[0]


def test_aliases_that_multiply_are_stopped(config: Loader) -> None:
    laughs = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

    faults = config.faults("\n".join(laughs))

    assert "grows without end" in faults[0]


def test_merges_that_multiply_are_stopped(config: Loader) -> None:
    laughs = ["a0: &a0 {x: 1, y: 2}"]
    laughs += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]

    faults = config.faults("\n".join(laughs))

    assert "grows without end" in faults[0]


def test_a_huge_file_is_not_read(config: Loader) -> None:
    faults = config.faults(b"#" * (2**20 + 1))

    assert "larger than 1048576 bytes" in faults[0]


@hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#$\n\t \\?,<%@0\ufeff\x00é", max_size=80))
def test_whatever_is_in_the_file_is_a_config_or_a_fault(config: Loader, text: str) -> None:
    with suppress(ConfigError):
        config(text)


def test_the_same_name_twice_is_a_fault_that_shows_both_lines(config: Loader) -> None:
    faults = config.faults("server:\n  port: 1\n  host: h\n  port: 2\nserver: {}\n")

    assert faults == [
        "server.port (line 4): stands twice; first on line 2",
        "server (line 5): stands twice; first on line 1",
    ]


def test_what_looks_like_a_number_stays_the_text_it_is_in_our_sections(config: Loader) -> None:
    settings = config("models:\n  4.50:\n    api_base: http://h/v1\n    api_key: 0123\n    upstream_model: 1e3\n")

    target = targets_of(settings)["4.50"]
    assert (target.upstream.api_key, target.upstream_model) == ("0123", "1e3")


def test_a_plugin_gets_yaml_types(config: Loader) -> None:
    settings = config("stats:\n  mine: {n: 10, on: yes, t: '10', day: 2026-02-03, x: null, l: [1.5, =]}\n")

    assert settings.stats["mine"] == {
        "n": 10, "on": True, "t": "10", "day": dt.date(2026, 2, 3), "x": None, "l": [1.5, "="],
    }  # fmt: skip


def test_anchors_and_merges_save_typing(config: Loader) -> None:
    text = "models:\n  a: &a {api_base: http://h/v1, timeout: 5}\n  b:\n    <<: *a\n    timeout: 7\n  c: *a\n"

    targets = targets_of(config(text))

    assert [targets[n].upstream.total_timeout for n in "abc"] == [5, 7, 5]


def test_a_merged_value_that_is_wrong_is_told_with_the_line_it_stands_on(config: Loader) -> None:
    text = "models:\n  a: &a\n    api_base: http://h/v1\n    timeout: none\n  b:\n    <<: *a\n    timeout: 7\n"

    faults = config.faults(text)

    assert faults == ["models.a.timeout (line 4): must be a number of seconds above 0, at most 86400, got 'none'"]


# --- ${ENV} ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "environ", "meant"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("pre-${A}-${B}", {"A": "x", "B": "y"}, "pre-x-y"),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-d}", {"A": "x"}, "x"),
        ("${A:-}", {}, ""),
        ("${A:-http://h:1/?a=b}", {}, "http://h:1/?a=b"),
        ("'${A}'", {"A": "x"}, "x"),
        ("$${A}", {"A": "x"}, "${A}"),
        ("$A", {"A": "x"}, "$A"),
        ("${A}", {"A": "${B}", "B": "no"}, "${B}"),
        ("${A}", {"A": "a: [b] # c"}, "a: [b] # c"),
    ],
)
def test_variables_are_filled_in(config: Loader, written: str, environ: dict[str, str], meant: str) -> None:
    settings = config(f"stats:\n  mine:\n    list:\n      - {written}\n", environ)

    assert settings.stats["mine"]["list"] == [meant]


def test_a_number_may_come_from_a_variable(config: Loader) -> None:
    settings = config("server: {port: '${PORT:-8001}', max_body_bytes: '${SIZE}'}", {"SIZE": "1MiB"})

    assert (settings.server.port, settings.server.max_body_bytes) == (8001, 2**20)


def test_every_variable_that_is_missing_is_named_with_its_line_and_told_once(config: Loader) -> None:
    faults = config.faults(MODEL + "    api_key: ${ONE}${TWO}\nauth:\n  mine: {keys: ['${ONE}']}\n")

    assert faults == [
        "models.m.api_key (line 4): the environment variable ONE is not set (${ONE:-default} gives a default)",
        "models.m.api_key (line 4): the environment variable TWO is not set (${TWO:-default} gives a default)",
        "auth.mine.keys.0 (line 6): the environment variable ONE is not set (${ONE:-default} gives a default)",
    ]


def test_a_variable_that_is_empty_is_missing_too_for_nobody_means_an_empty_key(config: Loader) -> None:
    faults = config.faults(MODEL + "    api_key: ${ONE}\nredis: {url: 'redis://${ONE}'}\n", {"ONE": ""})

    assert faults == [
        "models.m.api_key (line 4): the environment variable ONE is empty (${ONE:-default} gives a default)",
        "redis.url (line 5): the environment variable ONE is empty (${ONE:-default} gives a default)",
    ]


@pytest.mark.parametrize("written", ["${", "${}", "${sk-secret}", "${A:+x}", "${A B}", "${A:-{}}"])
def test_a_malformed_variable_is_a_fault_that_does_not_repeat_it(config: Loader, written: str) -> None:
    faults = config.faults(MODEL + f"    api_key: '{written}'\n", {"A": "x"})

    assert len(faults) == 1
    assert faults[0].startswith("models.m.api_key (line 4): has a ${ that is no ${NAME}")
    assert "sk-secret" not in faults[0]
