"""Cursors, and what is set aside, as deliveries use them: on SQLite and on PostgreSQL."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import text

from llm_one_api.stores.ledger.cursors import Lease
from llm_one_api.stores.ledger.dead_letters import LEDGER, Letter
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import Usage, UsageRecord
from tests.harness.records import record

NAME = "postgres stats"


def filled(ledger: Ledger, count: int = 5) -> Ledger:
    ledger.ingest([record(number) for number in range(1, count + 1)])
    return ledger


def leased(ledger: Ledger, consumer: str = NAME, owner: str = "me") -> Lease:
    lease = ledger.cursors.lease(consumer, owner, 60)
    assert lease
    return lease


def set_aside(ledger: Ledger, lease: Lease, seq: int, reason: str = "refused", tries: int = 8) -> Lease | None:
    (kept,) = ledger.read(seq - 1, 1)
    return ledger.dead_letters.set_aside(lease, kept, reason, tries)


def nobody(_owner: str) -> bool:
    return False


def everybody(_owner: str) -> bool:
    return True


# -- cursors --


def test_the_lease_of_one_who_is_gone_need_not_be_waited_for(ledger: Ledger) -> None:
    leased(ledger, owner="gone")

    waits = ledger.cursors.lease(NAME, "other", 60, gone=nobody)
    taken = ledger.cursors.lease(NAME, "other", 60, gone=lambda owner: owner == "gone")

    assert waits is None
    assert taken
    assert taken.died == "its process ended in the middle of a delivery"
    assert (taken.failures, taken.deaths, taken.after_death) == (1, 0, True)
    position = ledger.cursors.position(NAME)
    assert position
    assert (position.failures, position.error) == (1, taken.died)


def test_one_who_gave_it_back_did_not_die(ledger: Ledger) -> None:
    ledger.cursors.release(leased(ledger))

    again = leased(ledger)

    assert (again.died, again.failures, again.after_death) == (None, 0, False)


def test_with_which_record_processes_ended_is_counted_until_it_gets_on(ledger: Ledger) -> None:
    lease = leased(ledger)
    ledger.cursors.advance(lease, 2, in_hand=3)

    first = ledger.cursors.lease(NAME, "second", 60, gone=everybody)
    assert first
    ledger.cursors.renew(first, in_hand=3)
    second = ledger.cursors.lease(NAME, "third", 60, gone=everybody)
    assert second
    third = ledger.cursors.lease(NAME, "fourth", 60, gone=everybody)
    assert third
    moved = ledger.cursors.advance(third, 3)

    assert [(lease.seq, lease.failures, lease.deaths) for lease in (first, second, third)] == [
        (2, 1, 1),
        (2, 2, 2),
        (2, 3, 2),
    ]
    assert second.died == "its process ended while it had record 3 in hand"
    assert third.died == "its process ended in the middle of a delivery"
    assert moved
    assert (moved.failures, moved.deaths) == (0, 0)


def test_refusals_are_counted_apart_from_other_failures(ledger: Ledger) -> None:
    for refused in (False, True, True):
        lease = ledger.cursors.lease(NAME, "me", 60, at_once=True)
        assert lease
        ledger.cursors.fail(lease, "no", 60, refused=refused)

    left_alone = ledger.cursors.lease(NAME, "me", 60)
    lease = ledger.cursors.lease(NAME, "me", 60, at_once=True)

    assert left_alone is None
    assert lease
    assert (lease.failures, lease.refusals) == (3, 2)
    moved = ledger.cursors.advance(lease, 1)
    assert moved
    assert moved.refusals == 0


def test_a_consumer_that_is_deferred_has_not_failed_once_more(ledger: Ledger) -> None:
    lease = leased(ledger)

    ledger.cursors.defer(lease, 60)

    position = ledger.cursors.position(NAME)
    assert position
    assert position.failures == 0
    assert 50 < position.retry_in <= 60
    assert ledger.cursors.lease(NAME, "me", 60) is None


def test_every_consumer_that_ever_was_is_listed_with_how_it_fares(ledger: Ledger) -> None:
    filled(ledger)
    ledger.cursors.release(leased(ledger, "b"), 4)
    ledger.cursors.fail(leased(ledger, "a"), "it broke", 30)

    a, b = ledger.cursors.positions()

    assert (a.consumer, a.seq, a.failures, a.error) == ("a", 0, 1, "it broke")
    assert 20 < a.retry_in <= 30
    assert (b.consumer, b.seq, b.failures, b.error, b.retry_in) == ("b", 4, 0, None, 0.0)
    assert abs(a.seen_at - b.seen_at) < 60


# -- setting aside --


def test_a_record_is_set_aside_and_the_cursor_goes_over_it(ledger: Ledger) -> None:
    lease = leased(filled(ledger))

    moved = set_aside(ledger, lease, 3, "no\x00 such column")

    assert moved
    assert moved.seq == 3
    (letter,) = ledger.dead_letters.list()
    assert (letter.consumer, letter.seq, letter.request_id, letter.tries) == (NAME, 3, record(3).request_id, 8)
    assert letter.reason == "no\ufffd such column"
    assert letter.record() == ledger.read(2, 1)[0].record
    assert ledger.cursors.release(moved)


def test_who_lost_the_lease_sets_nothing_aside(ledger: Ledger) -> None:
    old = leased(filled(ledger))
    new = ledger.cursors.lease(NAME, "other", 60, gone=everybody)

    moved = set_aside(ledger, old, 1)

    assert new
    assert moved is None
    assert ledger.dead_letters.list() == []
    position = ledger.cursors.position(NAME)
    assert position
    assert position.seq == 0


def test_a_record_that_is_set_aside_once_more_stands_there_once_with_the_new_reason(ledger: Ledger) -> None:
    lease = set_aside(ledger, leased(filled(ledger)), 4, "first")
    assert lease

    moved = set_aside(ledger, lease, 2, "earlier")
    assert moved
    again = set_aside(ledger, moved, 4, "second", tries=3)

    assert again
    assert again.seq == 4
    assert [(letter.seq, letter.reason, letter.tries) for letter in ledger.dead_letters.list()] == [
        (2, "earlier", 8),
        (4, "second", 3),
    ]
    assert ledger.dead_letters.places(NAME, 2, 4) == {4}
    assert ledger.dead_letters.places("another", 0, 9) == set()


@pytest.mark.parametrize("text_", ["café 中 😀", 'a "quoted" \\ one', "\x7f\x1b"])
def test_a_record_that_was_set_aside_comes_back_as_it_was(ledger: Ledger, text_: str) -> None:
    ledger.ingest([record(1, end_user=text_, usage_raw={text_: [1, None]}, tags=(text_,))])

    set_aside(ledger, leased(ledger), 1)

    (letter,) = ledger.dead_letters.list()
    assert letter.line.isascii()
    assert letter.record() == ledger.read(0, 1)[0].record


def test_letters_are_counted_listed_and_dropped_by_consumer(ledger: Ledger) -> None:
    filled(ledger)
    set_aside(ledger, leased(ledger, "a"), 1)
    lease = set_aside(ledger, leased(ledger, "b"), 1)
    assert lease
    set_aside(ledger, lease, 2)
    ledger.ingest([record(9, usage=Usage(images=2**70))])
    dead = ledger.dead_letters

    counts = dead.count()
    b = dead.list("b")
    others = dead.drop("a", [letter.id for letter in b])
    dropped = dead.drop("b", [b[0].id, 12345])

    assert counts == {"a": 1, "b": 2, LEDGER: 1}
    assert [letter.seq for letter in b] == [1, 2]
    assert dead.list("b", [b[1].id]) == [b[1]]
    assert (others, dropped) == (0, 1)
    assert dead.count()["b"] == 1
    assert [letter.consumer for letter in dead.list(LEDGER)] == [LEDGER]


def test_more_can_be_dropped_at_once_than_a_statement_takes_values(ledger: Ledger) -> None:
    set_aside(ledger, leased(filled(ledger), "a"), 1)
    (letter,) = ledger.dead_letters.list("a")

    dropped = ledger.dead_letters.drop("a", [*range(letter.id + 1, letter.id + 260_000), letter.id])

    assert dropped == 1
    assert ledger.dead_letters.count() == {}


def test_a_reason_that_no_database_takes_as_it_is_can_be_noted_all_the_same(ledger: Ledger) -> None:
    lease = leased(filled(ledger), "a")
    ledger.cursors.fail(lease, "no file caf\udce9\x00", 0.0)
    set_aside(ledger, leased(ledger, "a"), 1, "no file caf\udce9\x00")

    (letter,) = ledger.dead_letters.list("a")

    assert letter.reason == "no file caf\\udce9\ufffd"


def test_a_letter_that_is_refused_again_keeps_the_new_reason(ledger: Ledger) -> None:
    set_aside(ledger, leased(filled(ledger)), 1, "old")
    (letter,) = ledger.dead_letters.list()

    ledger.dead_letters.refused_again(letter, "new")

    (again,) = ledger.dead_letters.list()
    assert (again.reason, again.tries) == ("new", letter.tries + 1)


# -- what the ledger itself refused --


def refuse_records(ledger: Ledger, *records: UsageRecord) -> list[Letter]:
    """Let the ledger refuse them for now."""
    refused = [msgspec.structs.replace(each, usage=Usage(images=2**70)) for each in records]
    ledger.ingest(refused)
    with ledger._engine.begin() as connection:
        for each in records:
            line = msgspec.json.encode(each).decode()
            connection.execute(
                text("UPDATE refused_records SET line = :line WHERE request_id = :id"),
                {"line": line, "id": each.request_id},
            )
    return ledger.dead_letters.list(LEDGER)


def test_what_the_ledger_refused_is_taken_in_with_its_sums_and_stands_there_no_longer(ledger: Ledger) -> None:
    (letter,) = refuse_records(ledger, record(1))

    done = ledger.dead_letters.ingest(letter)

    assert (done.new, done.refused) == (1, 0)
    assert ledger.dead_letters.list(LEDGER) == []
    assert ledger.find(record(1).request_id) == record(1)
    with ledger._engine.connect() as connection:
        assert connection.execute(text("SELECT sum(requests) FROM rollups_hour")).scalar_one() == 1


def test_what_is_refused_again_stands_there_with_the_new_reason(ledger: Ledger) -> None:
    ledger.ingest([record(1, usage=Usage(images=2**70))])
    with ledger._engine.begin() as connection:
        connection.execute(text("UPDATE refused_records SET reason = 'an old reason'"))
    (letter,) = ledger.dead_letters.list(LEDGER)

    done = ledger.dead_letters.ingest(letter)

    assert (done.new, done.refused) == (0, 1)
    (again,) = ledger.dead_letters.list(LEDGER)
    assert again.request_id == letter.request_id
    assert "images" in again.reason


def test_a_line_that_is_no_record_stays_under_its_name(ledger: Ledger) -> None:
    (letter,) = refuse_records(ledger, record(1))
    broken = msgspec.structs.replace(letter, line='{"model": "é"}')

    done = ledger.dead_letters.ingest(broken)

    assert (done.new, done.refused) == (0, 1)
    (again,) = ledger.dead_letters.list(LEDGER)
    assert again.request_id == letter.request_id
    assert again.reason.startswith("it is no record: ")


def test_one_that_came_in_meanwhile_is_not_counted_twice(ledger: Ledger) -> None:
    (letter,) = refuse_records(ledger, record(1))
    ledger.dead_letters.ingest(letter)

    done = ledger.dead_letters.ingest(letter)

    assert (done.new, done.known) == (0, 1)
    assert ledger.last_seq() == 1


# -- going back --


def test_a_cursor_goes_back_and_what_comes_again_is_set_aside_no_longer(ledger: Ledger) -> None:
    lease = leased(filled(ledger))
    for seq in (1, 3, 4):
        moved = set_aside(ledger, lease, seq)
        assert moved
        lease = moved
    with ledger._engine.begin() as connection:
        connection.execute(text("DELETE FROM records WHERE seq = 3"))

    back = ledger.dead_letters.rewind(lease, 2)

    assert back
    assert (back.seq, back.since) == (2, 2)
    assert [letter.seq for letter in ledger.dead_letters.list()] == [1, 3]
    assert ledger.cursors.advance(back, 5)


def test_who_lost_the_lease_does_not_go_back(ledger: Ledger) -> None:
    lease = set_aside(ledger, leased(filled(ledger)), 4)
    assert lease
    other = ledger.cursors.lease(NAME, "other", 60, gone=everybody)

    back = ledger.dead_letters.rewind(lease, 0)

    assert other
    assert back is None
    assert [letter.seq for letter in ledger.dead_letters.list()] == [4]
