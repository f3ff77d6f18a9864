"""Where the Valkey of `llm-one-api up` listens, for commands that are run beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_one_api.cli import embedded_valkey


@pytest.mark.parametrize("name", ["data", 'da ta "\\%', "long-" * 30])
def test_whoever_knows_the_data_folder_finds_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()

    prepared = embedded_valkey.prepare(folder)

    assert embedded_valkey.url_of(folder) == prepared.url
    assert not embedded_valkey.answers(prepared.url)


def test_where_there_never_was_an_up_there_is_none(tmp_path: Path) -> None:
    assert embedded_valkey.url_of(tmp_path) is None
