"""What commands do with a ledger of an older version, and with none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llm_one_api.cli import main
from llm_one_api.stores.ledger import schema
from llm_one_api.stores.ledger.engine import make_engine
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.older import upgrade_to

LOOKING = [["stats"], ["jobs", "list"], ["alerts", "list"], ["prices", "missing"], ["deadletter", "list"], ["verify"]]
PUTTING_RIGHT = [["alerts", "silence", "everything", "--for", "1h"], ["prices", "reprice", "--since", "2026-10-01"]]


class Desk:
    """An operator at a terminal."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/ledger.db"
        self._config = folder / "config.yaml"
        model = {"api_base": "http://127.0.0.1:1/v1", "api_key": "sk-upstream-0123456789abcdef"}
        self._config.write_text(
            json.dumps({"data_dir": str(folder), "ledger": {"url": self.url}, "models": {"m": model}})
        )

    def run(self, words: Sequence[str]) -> Result:
        return CliRunner().invoke(main, [*words, "--config", str(self._config)])

    def revision(self) -> str | None:
        engine = make_engine(self.url)
        try:
            return schema.revision(engine)
        finally:
            engine.dispose()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def older(desk: Desk) -> Desk:
    engine = make_engine(desk.url)
    with engine.begin() as connection:
        upgrade_to(connection, "0004")
    engine.dispose()
    return desk


@pytest.mark.parametrize("words", LOOKING + PUTTING_RIGHT, ids=" ".join)
def test_a_ledger_of_an_older_version_is_left_to_it_and_the_command_says_what_to_do(
    older: Desk, words: Sequence[str]
) -> None:
    result = older.run(words)

    assert result.exit_code > 0
    assert "llm-one-api db upgrade" in result.output
    assert older.revision() == "0004"


def test_db_upgrade_and_the_parts_of_an_installation_upgrade_it(older: Desk) -> None:
    upgraded = older.run(["db", "upgrade"])

    assert upgraded.exit_code == 0
    assert older.revision() == schema.head()
    with closing(Ledger(older.url)) as ledger:
        ledger.open()
        assert ledger.last_seq() == 0


@pytest.mark.parametrize("words", [["alerts", "list"], ["prices", "missing"], ["deadletter", "list"]], ids=" ".join)
def test_where_there_is_no_ledger_yet_there_is_nothing_to_tell(desk: Desk, words: Sequence[str]) -> None:
    result = desk.run(words)

    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("words", [["stats"], ["jobs", "list"]], ids=" ".join)
def test_what_wants_figures_says_that_there_is_no_ledger_and_makes_none(desk: Desk, words: Sequence[str]) -> None:
    result = desk.run(words)

    assert result.exit_code == 1
    assert "there is no ledger" in result.output
    assert not Path(desk.url.removeprefix("sqlite:///")).exists()
