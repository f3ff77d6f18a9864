"""A journal that is damaged: what can be read is sent, what cannot is counted, and nothing is held up by it."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from structlog.testing import capture_logs

from llm_one_api.books.relay import Relay
from llm_one_api.stores.journal.entries import Closed, encode
from llm_one_api.stores.journal.framing import frame
from llm_one_api.stores.journal.segments import list_segments
from llm_one_api.stores.journal.writer import Journal
from tests.harness.calls import Sink, kill, opened, record, settle


class Journals:
    """Writes like a gateway process, and is damaged on the way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder)

    def rotate(self) -> None:
        self.journal.limit(over=True)
        self.journal.sync()
        self.journal.limit(over=False)

    def damage(self, call: bytes, *, last: bool = True) -> None:
        """Flip a bit in the last (or first) place where *call* is named."""
        for name in reversed(list_segments(self.folder)):
            path = self.folder / str(name)
            data = path.read_bytes()
            place = data.rfind(call) if last else data.find(call)
            if place >= 0:
                with path.open("r+b") as file:
                    file.seek(place)
                    file.write(bytes([data[place] ^ 4]))
                return
        raise AssertionError(f"{call!r} stands nowhere")


@pytest.fixture
def relay(tmp_path: Path, sink: Sink) -> Relay:
    return Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks)


def test_a_bit_flipped_anywhere_in_a_segment_is_found_and_costs_one_entry_at_most() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        journal = Journal(folder)
        journal.open(opened("a"))
        journal.open(opened("b"))
        journal.close(record("a"))
        kill(journal)
        (path,) = folder.glob("*.seg")
        whole = path.read_bytes()

    wrong, hit = [], set()
    for place in range(len(whole)):
        with TemporaryDirectory() as name:
            folder, sink = Path(name), Sink()
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            (folder / path.name).write_bytes(damaged)
            relay = Relay(folder, publish=sink.publish, take_acks=sink.take_acks)
            settle(relay)

            found = {who: each.outcome for who, each in sink.records.items()}
            counted = relay.follower.corrupt + relay.follower.torn
            expected = {"a": "success", "b": "aborted"}
            others = {who: outcome for who, outcome in expected.items() if found.get(who) != outcome}
            hit |= set(others)
            # Of a call whose end was hit its beginning is left; of one that had not ended nothing is.
            if counted != 1 or len(others) > 1 or any(found.get(who, "aborted") != "aborted" for who in others):
                wrong.append((place, found, counted))
            if list_segments(folder):
                wrong.append((place, found, -1))

    assert wrong == []
    assert hit == {"a", "b"}
    assert len(whole) > 500


def test_a_call_whose_end_cannot_be_read_holds_nothing_for_ever_though_its_writer_lives(
    tmp_path: Path, relay: Relay, sink: Sink
) -> None:
    it = Journals(tmp_path)
    it.journal.open(opened("goes on"))
    it.journal.open(opened("damaged"))
    it.journal.close(record("damaged"))
    it.damage(b"damaged")
    settled = []

    with capture_logs() as logs:
        for number in range(3):
            it.journal.close(record(str(number)))
            it.rotate()
            settle(relay)
            settled.append(sorted(sink.ids))

    assert settled[0] == ["0"]
    assert settled[-1] == ["0", "1", "2", "damaged"]
    assert (sink.records["damaged"].outcome, sink.records["damaged"].error) == ("aborted", "journal_damaged")
    assert [line["calls"] for line in logs if line["event"] == "relay.ends_unread"] == [1]
    assert len(list_segments(tmp_path)) == 1
    it.journal.close(record("goes on"))
    settle(relay)
    assert sink.records["goes on"].outcome == "success"
    assert sorted(sink.ids) == sorted(set(sink.ids))
    kill(it.journal)


def test_a_call_that_ends_with_a_rotation_is_not_given_up_for_damage_before_it(
    tmp_path: Path, relay: Relay, sink: Sink
) -> None:
    it = Journals(tmp_path)
    it.journal.open(opened("long"))
    it.journal.close(record("damaged"))
    it.damage(b"damaged")
    it.journal._renew_at = 0.0

    it.journal.close(record("long"))  # the first entry of the next segment, which has no copy of its OPEN
    relay.turn(urgent=True)
    it.rotate()
    settle(relay)
    it.journal.close(record("after"))
    it.rotate()
    settle(relay)

    assert sink.records["long"].outcome == "success"
    assert sink.ids == ["long", "after"]
    kill(it.journal)


def test_a_call_whose_carried_copy_is_damaged_is_not_given_up_while_it_goes_on(
    tmp_path: Path, relay: Relay, sink: Sink
) -> None:
    it = Journals(tmp_path)
    it.journal.open(opened("long"))
    it.journal.close(record("one"))
    it.rotate()
    it.damage(b"long")
    for number in range(3):
        it.journal.close(record(str(number)))
        it.rotate()
        settle(relay)
    before = sink.ids

    it.journal.close(record("long"))
    settle(relay)

    assert "long" not in before
    assert sink.records["long"].outcome == "success"
    kill(it.journal)


def misfit(call: str, **values: object) -> bytes:
    """A CLOSE of another version, whose record has *values* that do not fit."""
    entry = msgspec.msgpack.decode(encode(Closed(record=record(call))))
    entry["record"].update(values)
    return frame(msgspec.msgpack.encode(entry))


@pytest.mark.parametrize("values", [{"outcome": "postponed"}, {"status": "two hundred"}, {"usage": [1, 2]}])
def test_a_record_whose_values_do_not_fit_is_handed_on_to_be_set_aside(
    tmp_path: Path, values: dict[str, object]
) -> None:
    sent: list[tuple[str, list[str]]] = []
    relay = Relay(
        tmp_path,
        publish=lambda batch_id, lines, _: sent.append((batch_id, lines)),
        take_acks=lambda: [batch_id for batch_id, _ in sent],
    )
    journal = Journal(tmp_path)
    journal.open(opened("odd"))
    os.write(journal._fd, misfit("odd", **values))
    journal.close(record("fine"))

    with capture_logs() as logs:
        settle(relay)
        kill(journal)
        settle(relay)

    lines = [msgspec.json.decode(line) for _, batch in sent for line in batch]
    assert [line["request_id"] for line in lines] == ["odd", "fine"]
    assert values.items() <= lines[0].items()
    told = [line for line in logs if line["event"] == "relay.misfit"]
    assert [line["records"] for line in told] == [1]
    assert told[0]["first_at"] > 0
    assert relay.follower.corrupt == 0
    assert list_segments(tmp_path) == []


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "close", "record": {"request_id": 7}},
        {"type": "close", "record": ["odd"]},
        {"type": "close", "record": {"request_id": "odd", "more": msgspec.msgpack.Ext(5, b"x")}},
        {"type": "later", "record": {"request_id": "odd"}},
        ["close"],
    ],
    ids=["no name", "no record", "no JSON", "another entry", "no entry"],
)
def test_what_cannot_even_be_handed_on_is_counted(tmp_path: Path, relay: Relay, sink: Sink, payload: object) -> None:
    journal = Journal(tmp_path)
    journal.open(opened("a"))
    os.write(journal._fd, frame(msgspec.msgpack.encode(payload)))
    journal.close(record("a"))

    settle(relay)

    assert sink.ids == ["a"]
    assert relay.follower.corrupt == 1
    kill(journal)


def test_a_disk_that_reads_badly_holds_up_no_other_writer(
    tmp_path: Path, relay: Relay, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = Journal(tmp_path), Journal(tmp_path)
    bad.close(record("bad"))
    good.close(record("good"))
    pread, inode = os.pread, os.fstat(bad._fd).st_ino

    def read(fd: int, size: int, at: int) -> bytes:
        if os.fstat(fd).st_ino == inode:
            raise OSError(5, "Input/output error")
        return pread(fd, size, at)

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "pread", read)
        settle(relay)
    held_up = sink.ids
    settle(Relay(tmp_path, publish=sink.publish, take_acks=sink.take_acks))

    assert held_up == ["good"]
    assert [line["event"] for line in logs] == ["relay.segment_unreadable"]
    assert set(sink.ids) == {"good", "bad"}
    for journal in (bad, good):
        kill(journal)
