"""What a process has counted gets to Redis, however long that is away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import gevent
import pytest
import redis

from llm_one_api.stores.gateways import GatewayStore, JournalFigures
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.stores.ledger.pipeline import SetAside
from llm_one_api.web.lookout import Lookout
from llm_one_api.web.telling import Telling
from tests.harness.calls import kill


class Away:
    """A store that is away when a test says so."""

    def __init__(self, store: GatewayStore) -> None:
        self.store = store
        self.away = False

    def tell(
        self, process: str, counts: Mapping[str, tuple[int, int]], journal: tuple[str, JournalFigures] | None = None
    ) -> None:
        if self.away:
            raise redis.ConnectionError
        self.store.tell(process, counts, journal)

    def close(self) -> None:
        pass


class Scene:
    def __init__(self, url: str, folder: Path) -> None:
        self.store = GatewayStore(url, "t:", timeout=5)
        self.journal = Journal(folder)
        self.away = Away(self.store)
        self.counted = 0
        lookout = Lookout(
            self.journal,
            folder,
            max_bytes=None,
            set_aside=lambda: SetAside(dead_letters=0, refused_records=0),
            zone=ZoneInfo("UTC"),
        )
        lookout.look_at_disk()
        self.telling = Telling(self.away, lambda: {"failures": self.counted}, lookout, folder, every=0.01)

    def heard(self, count: int) -> bool:
        with gevent.Timeout(10):
            while self.store.read().counts.get("failures") != count:
                gevent.sleep(0.01)
        return True


@pytest.fixture
def scene(redis_url: str, tmp_path: Path) -> Iterator[Scene]:
    it = Scene(redis_url, tmp_path)
    yield it
    it.telling.stop()
    it.store.close()
    kill(it.journal)


def test_counts_and_the_journal_are_told_again_and_again(scene: Scene) -> None:
    scene.counted = 2
    scene.telling.start()
    scene.heard(2)
    scene.counted = 5
    scene.heard(5)

    [figures] = scene.store.read().journals.values()
    assert figures == JournalFigures(relay_tells=False, bytes=figures.bytes, lost=None)


def test_what_was_counted_while_redis_was_away_is_told_when_it_is_back(scene: Scene) -> None:
    scene.counted = 2
    scene.telling.start()
    scene.heard(2)
    scene.away.away = True
    scene.counted = 9
    gevent.sleep(0.03)
    scene.away.away = False

    assert scene.heard(9)


def test_what_was_counted_last_is_told_at_the_end(scene: Scene) -> None:
    scene.counted = 2
    scene.telling.start()
    scene.heard(2)
    scene.telling._every = 60
    scene.counted = 3

    scene.telling.stop()

    assert scene.store.read().counts == {"failures": 3}
