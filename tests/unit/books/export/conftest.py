"""A ledger to export from, and a folder to export to."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from llm_one_api.books.reports.export.remote import target_of
from llm_one_api.books.reports.export.target import Folder, Target
from llm_one_api.settings import masked


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """One that is not there yet."""
    return Folder(tmp_path / "out" / "exports")


@pytest.fixture(params=["folder", "memory"])
def target(request: pytest.FixtureRequest, folder: Folder) -> Target:
    """A place of each kind."""
    return folder if request.param == "folder" else target_of(f"memory://exports/{uuid.uuid4().hex}", {}, masked)
