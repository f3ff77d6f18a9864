"""Writers and relays that are killed, torn rotations: each call that was opened has exactly one record."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_one_api.stores.journal.segments import list_segments
from tests.harness.processes import wait_until
from tests.harness.relays import Ingest, Relays, Writer, judge, killed_in_the_end
from tests.harness.scripted_writer import Script
from tests.harness.services import Valkey

ROUNDS, AT_A_TIME = 6, 6


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


@pytest.fixture
def ingest(session_valkey: Valkey, redis_url: str) -> Iterator[Ingest]:
    stand_in = Ingest(session_valkey)
    yield stand_in
    stand_in.close()


@pytest.fixture
def relays(journal: Path, redis_url: str) -> Iterator[Relays]:
    relays = Relays(journal, redis_url)
    yield relays
    relays.close()


def all_came(ingest: Ingest, journal: Path) -> bool:
    """Tell whether nothing is left in the journal."""
    ingest.take()
    return not list_segments(journal)


def test_writers_killed_at_any_moment_leave_one_record_a_call(journal: Path, relays: Relays, ingest: Ingest) -> None:
    relays.running()
    chance = random.Random(20261124)
    killed: list[Writer] = []

    for number in range(ROUNDS):
        round_ = [
            Writer(
                journal,
                Script(
                    name=f"w{number}{letter}",
                    segment_bytes=chance.choice([400, 3000, 50_000]),  # 400: nearly each entry rotates
                    fsync=chance.choice(["never", "always"]),
                    steps=chance.choice([3, 300, 1000]),
                ),
            )
            for letter in "abcdef"[:AT_A_TIME]
        ]
        killed += round_
        with killed_in_the_end(*round_):
            for writer in round_:
                after = chance.randrange(1, 900)
                wait_until(lambda w=writer, n=after: w.finished or w.steps() > n, every=0.001)  # type: ignore[misc]
                writer.kill()
                ingest.take()
    wait_until(lambda: all_came(ingest, journal), timeout=60, what="the journal is empty")

    outcomes = judge(killed, ingest)
    assert outcomes["aborted"] >= ROUNDS * AT_A_TIME / 2  # else the kills hit nobody
    assert outcomes["success"] > 1000
    assert set(ingest.times.values()) == {1}


def test_a_relay_killed_again_and_again_loses_nothing_and_contradicts_nothing(
    journal: Path, relays: Relays, ingest: Ingest
) -> None:
    writers = [Writer(journal, Script(name=f"w{n}", steps=2500, fsync="always")) for n in range(3)]
    chance = random.Random(7)

    with killed_in_the_end(*writers):
        for _ in range(4):
            relay = relays.running()
            enough = ingest.take() + chance.randrange(1, 400)
            wait_until(lambda n=enough: ingest.take() >= n or all(w.finished for w in writers), every=0.005)  # type: ignore[misc]
            relay.kill()
        wait_until(lambda: all(writer.finished for writer in writers), timeout=60)
    relays.running()
    wait_until(lambda: all_came(ingest, journal), timeout=60, what="the journal is empty")

    outcomes = judge(writers, ingest)
    assert outcomes["success"] + outcomes["aborted"] == len(ingest.records) > 3000
    assert max(ingest.times.values()) > 1  # else no kill hit


@pytest.mark.parametrize("moment", ["before", "middle", "after"])
def test_a_writer_that_dies_while_it_rotates_loses_no_call(
    journal: Path, relays: Relays, ingest: Ingest, moment: str
) -> None:
    writer = Writer(journal, Script(name="w", segment_bytes=3000, die=moment))
    with killed_in_the_end(writer):
        wait_until(lambda: not writer.process.alive, what="it has killed itself")

    relays.running()
    wait_until(lambda: all_came(ingest, journal), what="the journal is empty")

    outcomes = judge([writer], ingest)
    assert outcomes["aborted"] >= 2
    assert len(list(journal.glob(".*.seg"))) == 1  # half made; removed when it is older
