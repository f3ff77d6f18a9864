"""How the ledger's database is opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from llm_one_api.stores.ledger.engine import make_engine


@pytest.mark.parametrize("keep", [True, False])
def test_an_sqlite_file_is_for_our_own_eyes_only_whoever_opens_it_first(tmp_path: Path, keep: bool) -> None:
    before = os.umask(0o022)
    engine = make_engine(f"sqlite:///{tmp_path}/ledger.db", keep_connections=keep)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE t (n)")
            files = list(tmp_path.iterdir())

            assert files
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        engine.dispose()
        os.umask(before)
