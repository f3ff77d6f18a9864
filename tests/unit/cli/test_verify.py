"""`llm-one-api verify` whose audit breaks off."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from llm_one_api.cli import verify


@pytest.mark.parametrize("why", [ZeroDivisionError, KeyboardInterrupt])
def test_an_audit_that_breaks_off_is_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: type[BaseException]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("{}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ledger.db").touch()
    monkeypatch.chdir(tmp_path)

    def break_off(*_arguments: object, **_named: object) -> None:
        raise why

    monkeypatch.setattr(verify, "audit", break_off)
    said = CliRunner().invoke(verify.command, ["--config", str(config)])

    assert said.exit_code == 2
    assert f"the audit broke off: {why.__name__}" in said.stderr
    assert "break_off" in said.stderr
