"""In which order files begin, and the end of what functional tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import commands

LONGEST = frozenset(
    f"test_{name}.py"
    for name in (
        "up", "runs", "suite", "verify", "compose_parts", "journal_kills", "prometheus", "calls", "on_postgres",
        "example_plugin", "estimates_process", "alert_delivery", "bad_plugins", "prices", "analysis_pages", "stops",
    )
)  # fmt: skip
"""Those that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the longest files begin first: else a core has nothing to do while the last one goes on."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def _commands_end() -> Iterator[None]:
    """Leave no process behind that runs commands for tests."""
    yield
    commands.close()
