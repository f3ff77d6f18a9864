from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.loader import Loader


@pytest.fixture
def config(tmp_path: Path) -> Loader:
    return Loader(tmp_path)
