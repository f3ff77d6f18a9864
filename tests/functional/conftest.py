"""Ends what functional tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import commands


@pytest.fixture(scope="session", autouse=True)
def _commands_end() -> Iterator[None]:
    """Leave no process behind that runs commands for tests."""
    yield
    commands.close()
