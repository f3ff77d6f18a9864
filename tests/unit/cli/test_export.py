"""`llm-one-api export`, as an operator uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llm_one_api.cli import export, verify
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.databases import give_tables
from tests.harness.records import AT, record
from tests.unit.books.export.test_export import delete_calls


class Desk:
    """An operator at a terminal, with calls on two days."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.write({})
        give_tables(folder / "ledger.db")
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        self.ledger.ingest([record(1), record(2), record(3, at=AT + timedelta(days=1))])

    def write(self, section: dict[str, Any]) -> None:
        self.config.write_text(
            json.dumps(
                {
                    "data_dir": str(self.folder),
                    "plugins": {"stats": []},
                    "ledger": {"url": f"sqlite:///{self.folder / 'ledger.db'}"},
                    "export": section,
                }
            )
        )

    def says(self, *argv: str, command: Any = export.command) -> Result:
        return CliRunner().invoke(command, ["--config", str(self.config), *argv])

    def files(self, folder: str = "exports") -> list[str]:
        return sorted(path.name for path in (self.folder / folder).iterdir())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    it = Desk(tmp_path)
    yield it
    it.ledger.close()


def test_a_day_is_written_into_the_data_folder_and_said(desk: Desk) -> None:
    first, second = desk.says("--day", "2025-11-12"), desk.says("--day", "2025-11-12")

    assert first.exit_code == 0, first.output
    assert desk.files() == ["manifest_20251112.json", "records_20251112.jsonl", "stats_20251112.json"]
    assert "2025-11-12: 2 calls, $0.00063\n" in first.output
    assert f"  {desk.folder}/exports/records_20251112.jsonl  2 rows, " in first.output
    assert (first.output.count(", written"), second.output.count(", unchanged")) == (2, 2)


def test_days_and_formats_and_a_place_can_be_chosen(desk: Desk) -> None:
    to = str(desk.folder / "elsewhere")

    done = desk.says(
        "--from", "2025-11-12", "--to", "2025-11-13", "--format", "csv", "--format", "focus", "--to-url", to
    )

    assert done.exit_code == 0, done.output
    assert desk.files("elsewhere") == [
        "focus_20251112.csv", "focus_20251113.csv", "manifest_20251112.json", "manifest_20251113.json",
        "records_20251112.csv", "records_20251113.csv", "stats_20251112.json", "stats_20251113.json",
    ]  # fmt: skip
    assert not (desk.folder / "exports").exists()


def test_without_a_day_it_is_yesterday(desk: Desk) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()

    done = desk.says()

    assert f"{yesterday}: 0 calls\n" in done.output


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--day", "2999-01-01"], "2999-01-01 is not over yet."),
        (["--day", datetime.now(UTC).date().isoformat()], "is not over yet."),
        (["--from", "2025-11-13", "--to", "2025-11-12"], "--to is before --from."),
        (["--to", "2025-11-12"], "--to needs --from."),
        (["--day", "2025-11-12", "--from", "2025-11-12"], "Give --day, or --from and --to."),
        (["--day", "yesterday"], "'yesterday' is no day such as 2026-11-24"),
        (["--format", "xls"], "'xls' is not one of"),
    ],
)
def test_what_makes_no_sense_is_said(desk: Desk, argv: list[str], said: str) -> None:
    done = desk.says(*argv)

    assert done.exit_code == 2
    assert said in done.output


def test_a_place_that_cannot_be_used_ends_it_in_words(desk: Desk) -> None:
    (desk.folder / "exports").write_text("")

    done = desk.says("--day", "2025-11-12")

    assert done.exit_code == 1
    assert "Error: " in done.output
    assert "/exports/manifest_20251112.json: Not a directory" in done.output


def test_calls_that_are_deleted_are_told(desk: Desk) -> None:
    delete_calls(desk.ledger, AT + timedelta(hours=14))

    done = desk.says("--day", "2025-11-12")

    assert done.exit_code == 1
    assert "no jsonl: the calls of that day are deleted by now" in done.output
    assert desk.files() == ["manifest_20251112.json", "stats_20251112.json"]


def test_secrets_of_the_target_are_not_shown(desk: Desk) -> None:
    desk.write({"to": "ftp://user:S3CRET-pw@127.0.0.1:1/x", "storage_options": {"acct": "S3CRET-acct"}})

    done = desk.says("--day", "2025-11-12")

    assert done.exit_code == 1
    assert "ftp://user:***@127.0.0.1:1/x" in done.output
    assert "S3CRET" not in done.output


def test_verify_compares_them_and_puts_them_right(desk: Desk) -> None:
    desk.says("--day", "2025-11-12")
    agrees = desk.says(command=verify.command)
    desk.ledger.ingest([record(9)])
    differs = desk.says("--day", "2025-11-12", command=verify.command)
    repaired = desk.says("--repair", command=verify.command)

    assert agrees.exit_code == 0, agrees.output
    assert "exports    agree        exports' manifests = sums of their days: 1 days, 2 files" in agrees.output
    assert differs.exit_code == 1
    assert "exports    DIFFER (1)" in differs.output
    assert "2025-11-12: export: requests 2 " in differs.output
    assert repaired.exit_code == 0, repaired.output
    assert "agree again (1 repaired)" in repaired.output


def test_an_export_that_may_be_worth_more_is_overwritten_only_if_that_is_said(desk: Desk) -> None:
    desk.says("--day", "2025-11-12")
    (desk.folder / "exports" / "manifest_20251112.json").write_text("{")

    refused = desk.says("--from", "2025-11-12", "--to", "2025-11-13")
    meant = desk.says("--day", "2025-11-12", "--overwrite")

    assert (refused.exit_code, meant.exit_code) == (1, 0)
    assert "to overwrite it: llm-one-api export --day 2025-11-12 --overwrite" in refused.output
    assert "2025-11-13: 1 call" in refused.output, "the others are written"
    assert "2025-11-12: 2 calls" in meant.output
