"""The encodings are tiktoken's own, and come with the product."""

from __future__ import annotations

import gzip
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from tiktoken import Encoding

from llm_one_api.tokens.count import text_tokens
from llm_one_api.tokens.encodings import RANKS, Name, TableDamaged, load, name_for
from tests.unit.tokens.conftest import NAMES
from tests.unit.tokens.texts import TEXTS


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_has_as_many_tokens_as_tiktoken_says(official: Mapping[Name, Encoding], name: Name, text: str) -> None:
    expected = len(official[name].encode(text, disallowed_special=()))

    assert text_tokens(text, load(name)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_patterns_and_special_tokens_are_those_of_tiktoken(official: Mapping[Name, Encoding], name: Name) -> None:
    ours, theirs = load(name), official[name]

    assert ours.name == theirs.name
    assert ours._pat_str == theirs._pat_str
    assert ours._special_tokens == theirs._special_tokens
    assert ours.n_vocab == theirs.n_vocab


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-2024-08-06", "o200k_base"),
        ("gpt-4.1-mini", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-oss-120b", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("ft:gpt-3.5-turbo:org::id", "cl100k_base"),
        ("text-davinci-003", "cl100k_base"),
        ("gpt2", "cl100k_base"),
        ("openai/gpt-4", "cl100k_base"),
        ("azure/gpt-4o", "o200k_base"),
        ("openrouter/openai/gpt-3.5-turbo", "cl100k_base"),
        ("Azure/GPT-4", "cl100k_base"),
        ("claude-sonnet-4-5", "o200k_base"),
        ("deepseek/deepseek-chat", "o200k_base"),
        ("", "o200k_base"),
        ("///", "o200k_base"),
    ],
)
def test_a_model_has_the_encoding_that_tiktoken_knows_for_it(model: str, name: Name) -> None:
    assert name_for(model) == name


def test_a_table_that_is_not_the_expected_one_is_refused(tmp_path: Path) -> None:
    table = gzip.decompress((RANKS / "cl100k_base.tiktoken.gz").read_bytes())
    (tmp_path / "cl100k_base.tiktoken.gz").write_bytes(gzip.compress(table.replace(b"IQ== 0\n", b"IQ== 1\n", 1)))

    with pytest.raises(TableDamaged, match=r"cl100k_base\.tiktoken\.gz: its SHA-256 is .* expects 223921b76ee9"):
        load("cl100k_base", tmp_path)


@pytest.mark.parametrize("kept", [0, 10, 100_000])
def test_a_table_that_is_cut_off_is_refused(tmp_path: Path, kept: int) -> None:
    whole = (RANKS / "cl100k_base.tiktoken.gz").read_bytes()
    (tmp_path / "cl100k_base.tiktoken.gz").write_bytes(whole[:kept])

    with pytest.raises(TableDamaged, match=r"cl100k_base\.tiktoken\.gz"):
        load("cl100k_base", tmp_path)


def test_a_table_that_is_missing_is_named_and_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(TableDamaged, match=r"o200k_base\.tiktoken\.gz: cannot be read \(FileNotFoundError\)"):
        load("o200k_base", tmp_path)


def test_nothing_is_fetched_and_nothing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables, cache = tmp_path / "tables", tmp_path / "cache"
    shutil.copytree(RANKS, tables)
    cache.mkdir()
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    monkeypatch.setenv("DATA_GYM_CACHE_DIR", str(cache))
    monkeypatch.setattr(tempfile, "tempdir", str(cache))
    monkeypatch.setattr(socket, "socket", None)  # a look-up of a name or a connection would fail
    monkeypatch.setattr(socket, "getaddrinfo", None)

    encoding = load("cl100k_base", tables)

    assert len(encoding.encode_ordinary("tiktoken is great!")) == 6
    assert list(cache.iterdir()) == []


def test_where_the_tables_come_from_is_said_beside_them() -> None:
    notice = (RANKS / "NOTICE").read_text()

    assert {path.name for path in RANKS.iterdir()} == {"NOTICE", *(f"{name}.tiktoken.gz" for name in NAMES)}
    assert all(f"`{name}.tiktoken.gz`" in notice for name in NAMES)
    assert "MIT License" in notice
    assert "Copyright (c) 2022 OpenAI" in notice
