"""A real journal, carried into a real ledger by a real relay; then something is missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_one_api.books.audit.check import Context, Findings
from llm_one_api.books.audit.journal import Walk
from llm_one_api.books.audit.segments import PATIENCE, SegmentsCheck
from llm_one_api.books.ingest import ingest
from llm_one_api.books.relay import Relay
from llm_one_api.stores.journal.entries import Closed, encode
from llm_one_api.stores.journal.framing import frame
from llm_one_api.stores.journal.lock import take_relay_lock
from llm_one_api.stores.journal.segments import ACKED, list_segments
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.calls import AT, kill, opened, record, settle
from tests.unit.books.audit.looking import ALWAYS, context, pairs, tamper

CHECK = SegmentsCheck()


class Machine:
    """A gateway's journal folder, with its relay and the ledger that it is carried to."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder = folder
        self.ledger = ledger
        self.acked = folder / ACKED
        self._acks: list[str] = []
        self._journals: list[Journal] = []

    def journal(self, **options: Any) -> Journal:
        it = Journal(self.folder, **options)
        self._journals.append(it)
        return it

    def carry(self) -> None:
        """Bring all that is there into the ledger, and free what can be freed."""
        relay = Relay(self.folder, publish=self._publish, take_acks=self._take)
        settle(relay)
        relay.turn()

    def close(self) -> None:
        for each in self._journals:
            kill(each)

    def look(self, **more: Any) -> Findings:
        return CHECK.run(self.context(**more))

    def context(self, **more: Any) -> Context:
        return context(self.ledger, **{"journal": self.folder, "now": AT, **more})

    def _publish(self, batch_id: str, lines: list[str], _expires: float) -> None:
        ingest(self.ledger, lines, lambda: self._acks.append(batch_id))

    def _take(self) -> list[str]:
        acks, self._acks = self._acks, []
        return acks


@pytest.fixture
def machine(tmp_path: Path, ledger: Ledger) -> Iterator[Machine]:
    it = Machine(tmp_path / "journal", ledger)
    it.folder.mkdir()
    yield it
    it.close()


@pytest.fixture
def hold(machine: Machine) -> Iterator[Callable[[], None]]:
    """Have a relay run, as far as its lock tells."""
    held: list[int] = []

    def take() -> None:
        lock = take_relay_lock(machine.folder)
        assert lock is not None
        held.append(lock)

    yield take
    for lock in held:
        os.close(lock)


def calls(journal: Journal, *names: str) -> None:
    for name in names:
        journal.open(opened(name))
        journal.close(record(name))


def age(machine: Machine, seconds: float) -> None:
    """Have all segments be so old."""
    then = AT.timestamp() - seconds
    for name in list_segments(machine.folder):
        os.utime(machine.folder / str(name), (then, then))


def ids(found: Findings) -> set[str]:
    return {what["request_id"] for what, _ in pairs(found) if "request_id" in what}


def test_a_journal_that_was_carried_agrees_whoever_lives(machine: Machine) -> None:
    alive, dead = machine.journal(segment_bytes=1000), machine.journal(segment_bytes=1000)
    for journal, name in ((alive, "a"), (dead, "d")):
        calls(journal, *[f"{name}{n}" for n in range(9)])
        journal.open(opened(f"{name}-open"))
    kill(dead)
    machine.carry()

    found = machine.look()

    assert (found.state, found.notes) == ("agrees", [])
    assert found.compared["calls"] == 9 + 9 + 1
    assert len(list_segments(machine.acked)) > 2


def test_an_acked_call_without_a_record_is_found_and_put_into_the_ledger(machine: Machine) -> None:
    journal = machine.journal(segment_bytes=1000)
    calls(journal, *[f"a{n}" for n in range(9)])
    kill(journal)
    machine.carry()
    tamper(machine.ledger, "DELETE FROM records WHERE request_id IN ('a3', 'a5')")

    found = machine.look()
    CHECK.repair(machine.context(), found)

    assert (found.state, found.repairable) == ("differs", 2)
    assert ids(found) == {"a3", "a5"}
    assert pairs(found)[0][1] == {"journal": "closed", "ledger": "nothing"}
    assert machine.look().state == "agrees"
    assert machine.ledger.find("a3") == record("a3")


def test_what_is_put_into_the_ledger_has_its_cost(machine: Machine) -> None:
    journal = machine.journal()
    calls(journal, "a")
    kill(journal)
    machine.carry()
    tamper(machine.ledger, "DELETE FROM records")

    dear = machine.context(price=lambda one: msgspec.structs.replace(one, service_tier="priced"))
    CHECK.repair(dear, machine.look())

    again = machine.ledger.find("a")
    assert again is not None
    assert again.service_tier == "priced"


def test_a_call_that_a_dead_writer_left_open_must_have_been_aborted(machine: Machine) -> None:
    journal = machine.journal()
    calls(journal, "a")
    journal.open(opened("open"))
    journal.end(record("ended"))
    kill(journal)
    machine.carry()
    tamper(machine.ledger, "DELETE FROM records WHERE request_id IN ('open', 'ended')")

    found = machine.look()
    CHECK.repair(machine.context(), found)

    left = machine.ledger.find("open")
    assert ids(found) == {"open", "ended"}
    assert pairs(found)[0][1]["journal"] == "left open"
    assert left is not None
    assert left.outcome == "aborted"
    assert machine.look().state == "agrees"


def test_what_was_refused_is_accounted_for(machine: Machine) -> None:
    journal = machine.journal()
    journal.close(record("bad", tokens=-1))
    journal.close(msgspec.structs.replace(record("deep"), usage_raw=_deep(80)))
    machine.carry()

    found = machine.look()

    assert (found.state, found.compared["calls"]) == ("agrees", 2)
    assert machine.ledger.last_seq() == 0


def test_an_entry_of_another_version_is_accounted_for_as_what_could_not_be_kept(machine: Machine) -> None:
    machine.folder.mkdir(exist_ok=True)
    payload = msgspec.msgpack.decode(encode(Closed(record=record("old"))))
    payload["record"]["status"] = "fine"
    (machine.folder / f"{'a' * 32}.000000.seg").write_bytes(frame(msgspec.msgpack.encode(payload)))
    before = machine.look()
    machine.carry()

    after = machine.look()
    tamper(machine.ledger, "DELETE FROM refused_records")
    lost = machine.look()
    CHECK.repair(machine.context(), lost)

    assert before.notes[0].startswith("1 calls wait")
    assert after.state == "agrees"
    assert ids(lost) == {"old"}
    assert machine.look().state == "agrees"


def test_what_waits_for_a_relay_that_runs_is_no_difference_however_long(
    machine: Machine, hold: Callable[[], None]
) -> None:
    calls(machine.journal(), "a", "b")
    age(machine, PATIENCE * 10)
    hold()

    found = machine.look(now=AT + timedelta(minutes=90))

    assert found.state == "agrees"
    assert found.notes == ["2 calls wait in the journal, the oldest for 90 min"]


def test_what_waits_though_no_relay_has_run_for_long_is_one(machine: Machine) -> None:
    calls(machine.journal(), "a")

    age(machine, PATIENCE - 1)
    young = machine.look()
    age(machine, PATIENCE + 1)
    old = machine.look()
    CHECK.repair(machine.context(), old)

    assert young.state == "agrees"
    assert ids(old) == {"a"}
    assert machine.look().state == "agrees"


def test_a_call_that_is_under_way_needs_no_record(machine: Machine) -> None:
    machine.journal().open(opened("a"))
    age(machine, PATIENCE + 1)

    found = machine.look()

    assert (found.state, found.compared) == ("agrees", {"calls": 0, "segments": 1})


def test_a_segment_that_is_missing_between_others_is_named(machine: Machine) -> None:
    journal = machine.journal(segment_bytes=500)
    calls(journal, *[f"a{n}" for n in range(9)])
    kill(journal)
    machine.carry()
    names = list_segments(machine.acked)
    (machine.acked / str(names[2])).unlink()

    found = machine.look()

    assert (found.state, found.repairable) == ("differs", 0)
    assert pairs(found)[0][0] == {"segment": str(names[2])}


def test_old_segments_that_were_let_go_are_not_missing(machine: Machine) -> None:
    journal = machine.journal(segment_bytes=500)
    calls(journal, *[f"a{n}" for n in range(9)])
    machine.carry()
    for name in list_segments(machine.acked)[:3]:
        (machine.acked / str(name)).unlink()

    assert machine.look().state == "agrees"


def test_what_cannot_be_read_cannot_be_accounted_for(machine: Machine) -> None:
    journal = machine.journal()
    calls(journal, "a", "b", "c")
    kill(journal)
    machine.carry()
    [name] = list_segments(machine.acked)
    path = machine.acked / str(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)

    found = machine.look()

    assert (found.count, found.repairable) == (1, 0)
    assert "cannot be read" in pairs(found)[0][1]["journal"]


def test_only_calls_of_the_time_that_is_asked_for_are_looked_at(machine: Machine) -> None:
    journal = machine.journal()
    calls(journal, "a")
    kill(journal)
    machine.carry()
    tamper(machine.ledger, "DELETE FROM records")

    later = machine.look(since=AT + timedelta(seconds=1))
    earlier = machine.look(until=AT)

    assert (later.state, earlier.state) == ("agrees", "agrees")
    assert machine.look().state == "differs"


def test_what_retention_may_have_deleted_is_not_asked_for(machine: Machine) -> None:
    journal = machine.journal()
    calls(journal, "a")
    kill(journal)
    machine.carry()
    machine.ledger.retention.delete_records(AT + timedelta(hours=1), 1)

    assert machine.look().state == "agrees"


def test_a_segment_that_is_acked_while_it_is_read_is_followed(machine: Machine) -> None:
    journal = machine.journal()
    calls(journal, *[f"a{n}" for n in range(1500)])
    kill(journal)
    walk = Walk(machine.folder, **ALWAYS)
    batches = walk.batches()
    seen = len(next(batches))

    machine.carry()
    seen += sum(len(batch) for batch in batches)

    assert seen == 1500
    assert walk.faults == []


def test_records_that_a_full_journal_has_cost_are_told(machine: Machine) -> None:
    journal = machine.journal()
    calls(journal, "a")
    journal.limit(over=True)
    journal.close(record("lost"))
    journal.limit(over=False)
    journal.sync()

    found = machine.look()

    assert "1 records were lost while the journal was full" in found.notes


@pytest.mark.parametrize("folder", [None, Path("/nowhere/at/all")])
def test_where_there_is_no_journal_there_is_nothing_to_compare(ledger: Ledger, folder: Path | None) -> None:
    found = CHECK.run(context(ledger, journal=folder))

    assert found.state == "elsewhere"


def _deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value
