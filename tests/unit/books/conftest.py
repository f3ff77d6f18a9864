"""A journal's writers and what a relay in this process sends to, for the tests of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_one_api.stores.journal.writer import Journal
from tests.harness.calls import Clock, Sink, kill


@pytest.fixture
def sink() -> Sink:
    """Takes what the relay sends, and acks it."""
    return Sink()


@pytest.fixture
def clock() -> Clock:
    """The relay's time."""
    return Clock()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Make writers, which are killed at the end."""
    made: list[Journal] = []

    def journal(**options: int) -> Journal:
        made.append(Journal(tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield journal
    for each in made:
        kill(each)
