"""A ledger to export from, and a folder to export to."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_one_api.books.reports.export.remote import target_of
from llm_one_api.books.reports.export.target import Folder, Target
from llm_one_api.settings import masked
from llm_one_api.stores.ledger.ledger import Ledger


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of one with nothing in it: its tables are made once, for that takes longer than most tests here."""
    file = tmp_path_factory.mktemp("empty") / "ledger.db"
    it = Ledger(f"sqlite:///{file}")
    it.upgrade()
    it.close()
    return file


@pytest.fixture
def ledger(empty_ledger: Path, tmp_path: Path) -> Iterator[Ledger]:
    """A real one, with nothing in it."""
    it = Ledger(f"sqlite:///{shutil.copy(empty_ledger, tmp_path)}")
    yield it
    it.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """One that is not there yet."""
    return Folder(tmp_path / "out" / "exports")


@pytest.fixture(params=["folder", "memory"])
def target(request: pytest.FixtureRequest, folder: Folder) -> Target:
    """A place of each kind."""
    return folder if request.param == "folder" else target_of(f"memory://exports/{uuid.uuid4().hex}", {}, masked)
