"""What a gunicorn process tells of the records' way, from what it saw last."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from llm_one_api.stores.journal import status
from llm_one_api.stores.journal.segments import ACKED
from llm_one_api.stores.journal.status import NONE, RelayStatus
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.stores.ledger.pipeline import Consumer, LedgerEnd, SetAside
from llm_one_api.web.lookout import Figures, Limits, Lookout
from llm_one_api.web.pipeline import laid_out
from tests.harness.calls import AT, kill, opened, record

NOTHING = SetAside(dead_letters=0, refused_records=0)
FINE = RelayStatus(
    at=AT,
    pid=4711,
    started_at=AT - timedelta(hours=1),
    lag=0.0,
    oldest_unacked=None,
    unacked_batches=0,
    planned_batches=0,
    journal_bytes=0,
    acked_bytes=5000,
    broker_away_since=None,
    acks_away_since=None,
    sent=10,
    acked=9,
    resent=1,
    lost_at=None,
    pruned_until=None,
    gone=NONE,
    there={},
)


class Seen:
    """A journal's folder, and a ledger, to look at."""

    def __init__(self, folder: Path, max_bytes: int | None = None, limits: Limits | None = None) -> None:
        self.folder = folder
        self.journal = Journal(folder)
        self.aside: SetAside | None = NOTHING
        self.now = AT
        self.overdue: list[str] = []
        self.asked = 0
        self.lookout = Lookout(
            self.journal,
            folder,
            max_bytes=max_bytes,
            set_aside=self._set_aside,
            zone=ZoneInfo("Asia/Shanghai"),
            limits=lambda: limits,
            overdue=self._overdue,
            clock=self._clock,
        )

    def _clock(self) -> float:
        return self.now.timestamp()

    def _set_aside(self) -> SetAside:
        if self.aside is None:
            raise ConnectionError
        return self.aside

    def _overdue(self) -> list[str]:
        self.asked += 1
        return self.overdue

    def look(self, relay: RelayStatus | None = FINE, **changes: Any) -> Lookout:
        """Look, when a relay has just told *relay* with *changes*."""
        if relay is not None:
            status.write(self.folder, msgspec.structs.replace(relay, **{"at": self.now, **changes}))
        self.lookout.look_at_disk()
        try:
            self.lookout.look_at_ledger()
        except ConnectionError:
            pass
        return self.lookout


class Lenient:
    """Limits, which have let some calls pass without them."""

    without = 7


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    it = Seen(tmp_path)
    yield it
    kill(it.journal)


def test_before_the_first_look_nothing_can_be_told(seen: Seen) -> None:
    assert seen.lookout.figures() == Figures()
    assert seen.lookout.because() == []


def test_where_all_is_well_there_is_nothing_to_look_at(seen: Seen) -> None:
    seen.journal.open(opened("a"))

    lookout = seen.look()

    size = sum(path.stat().st_size for path in seen.folder.glob("*.seg"))
    assert lookout.because() == []
    assert lookout.figures() == Figures(
        journal_bytes=size, relay_lag=0.0, oldest_unacked=None, dead_letters=0, lost_records=0, refused_records=0,
        overdue_jobs=(),
    )  # fmt: skip


def test_a_job_that_is_overdue_is_named_and_looked_for_seldom(seen: Seen) -> None:
    seen.overdue = ["audit"]

    first = seen.look().because()
    seen.overdue = []
    second, told = seen.look().because(), seen.lookout.figures().overdue_jobs
    asked = seen.asked
    seen.now += timedelta(seconds=31)
    third = seen.look().because()

    assert (first, second, third) == (["job_overdue"], ["job_overdue"], [])
    assert (told, asked) == (("audit",), 1)


def test_a_record_that_waits_is_told_with_its_time_in_the_zone(seen: Seen) -> None:
    lookout = seen.look(lag=12.34, oldest_unacked=AT - timedelta(seconds=12))

    assert lookout.figures().relay_lag == 12.3
    assert lookout.figures().oldest_unacked == "2026-11-24T11:54:48.000000+08:00"
    assert lookout.because() == []


@pytest.mark.parametrize(
    ("changes", "aside", "because"),
    [
        ({"lag": 61.0}, NOTHING, ["relay_lag"]),
        ({"lost_at": AT - timedelta(minutes=59)}, NOTHING, ["lost_records"]),
        ({"lost_at": AT - timedelta(minutes=61)}, NOTHING, []),
        ({}, SetAside(dead_letters=1, refused_records=0), ["dead_letters"]),
        ({}, SetAside(dead_letters=0, refused_records=1), ["refused_records"]),
        ({"lag": 61.0}, SetAside(dead_letters=1, refused_records=1), ["dead_letters", "refused_records", "relay_lag"]),
    ],
)
def test_what_somebody_has_to_look_at_is_named(
    seen: Seen, changes: dict[str, Any], aside: SetAside, because: list[str]
) -> None:
    seen.aside = aside

    assert seen.look(**changes).because() == because


def test_a_loss_counts_at_once_and_not_twice_when_the_relay_knows_of_it(seen: Seen) -> None:
    seen.journal.limit(over=True)
    for name in "abc":
        seen.journal.close(record(name))
    at_once = seen.lookout.lost, seen.lookout.because()

    seen.journal.sync()
    later = seen.look(gone=status.Figures(lost=3), lost_at=seen.now)

    assert at_once == (3, ["journal_full", "lost_records"])
    assert (later.lost, later.because()) == (3, ["lost_records"])


def test_a_relay_that_fell_silent_is_named_and_what_it_told_is_not_believed(seen: Seen) -> None:
    seen.look(lag=3.0, gone=status.Figures(lost=2))

    seen.now += timedelta(seconds=16)
    lookout = seen.look(None)

    assert lookout.because() == ["relay_status"]
    assert lookout.figures().relay_lag is None
    assert lookout.figures().lost_records == 2  # what is lost stays lost


def test_a_relay_has_time_to_begin(seen: Seen) -> None:
    at_first = seen.look(None).because()
    seen.now += timedelta(seconds=16)

    assert at_first == []
    assert seen.look(None).because() == ["relay_status"]


def test_a_ledger_that_is_away_has_no_figures(seen: Seen) -> None:
    seen.look()
    seen.aside = None

    lookout = seen.look()

    assert (lookout.figures().dead_letters, lookout.figures().refused_records) == (None, None)
    assert lookout.because() == []


def test_where_there_are_limits_it_is_told_what_they_miss(tmp_path: Path) -> None:
    seen = Seen(tmp_path, limits=Lenient())

    told = seen.look(unsettled=3).figures()
    silent = seen.look(None)
    seen.now += timedelta(seconds=16)

    assert (told.unsettled, told.admitted_without_limits, told.limits_away_since) == (3, 7, None)
    assert silent.figures().unsettled is None
    kill(seen.journal)


def test_since_when_limits_cannot_be_relied_on_is_told_until_they_can(seen: Seen) -> None:
    def away() -> bool:
        raise ConnectionError

    lookout = seen.lookout
    for are_whole in (away, lambda: False, away):
        with pytest.raises((ConnectionError, LookupError)):
            lookout.look_at_limits(are_whole)
        seen.now += timedelta(seconds=5)

    assert lookout.figures().limits_away_since == "2026-11-24T11:55:00.000000+08:00"
    lookout.look_at_limits(lambda: True)
    assert lookout.figures().limits_away_since is None
    with pytest.raises(LookupError):
        lookout.look_at_limits(lambda: False)
    assert lookout.figures().limits_away_since == "2026-11-24T11:55:15.000000+08:00"


def test_the_journal_hears_when_too_much_waits_and_when_there_is_room_again(tmp_path: Path) -> None:
    seen = Seen(tmp_path, max_bytes=1000)
    for number in range(5):
        seen.journal.close(record(str(number)))
    seen.look()
    full = seen.journal.full, seen.lookout.because()
    seen.journal.sync()

    (tmp_path / ACKED).mkdir()
    for path in tmp_path.glob("*.000000.seg"):
        path.rename(tmp_path / ACKED / path.name)
    seen.look()

    assert full == (True, ["journal_full"])
    assert not seen.journal.full
    kill(seen.journal)


def test_a_folder_that_cannot_be_read_has_no_size(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    seen.look()

    def fail(_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", fail)
        with pytest.raises(OSError, match="Input/output"):
            seen.look()

    assert seen.lookout.figures().journal_bytes is None


def test_the_page_has_all_of_it(seen: Seen) -> None:
    seen.journal.close(record("a"))
    lookout = seen.look(lag=3.0, oldest_unacked=AT, gone=status.Figures(torn=1), there={"x": status.Figures(torn=2)})
    consumer = Consumer(name="log", place=3, behind=2, failures=1, error="away", dead_letters=4)

    page = laid_out(
        lookout,
        "refuse",
        alive=True,
        end=LedgerEnd(last_seq=5, refused_records={"too_old": 1}, consumers=[consumer]),
    )

    assert page["journal"] == {
        "bytes": lookout.figures().journal_bytes,
        "segments": 1,
        "max_bytes": None,
        "full": False,
        "on_full": "refuse",
    }
    assert page["relay"] | {"started_at": None} == {
        "alive": True,
        "told_at": "2026-11-24T11:55:00.000000+08:00",
        "pid": 4711,
        "started_at": None,
        "lag": 3.0,
        "oldest_unacked": "2026-11-24T11:55:00.000000+08:00",
        "unacked_batches": 0,
        "planned_batches": 0,
        "broker_away_since": None,
        "acks_away_since": None,
        "acked_bytes": 5000,
        "unsettled": 0,
        "limits_away_since": None,
        "sent": 10,
        "acked": 9,
        "resent": 1,
        "adopted": 0,
        "corrupt": 0,
        "torn": 3,
        "misfit": 0,
        "lost": 0,
        "lost_at": None,
        "pruned_until": None,
    }
    assert page["ledger"] == {"last_seq": 5, "refused_records": {"too_old": 1}}
    assert page["consumers"] == [
        {"name": "log", "place": 3, "behind": 2, "failures": 1, "error": "away", "dead_letters": 4}
    ]


def test_the_page_says_nothing_of_what_cannot_be_told(seen: Seen) -> None:
    page = laid_out(seen.lookout, "serve", alive=None, end=None)

    assert page["journal"]["bytes"] is None
    assert set(page["relay"].values()) == {None}
    assert (page["ledger"], page["consumers"]) == (None, None)


def test_of_a_relay_that_fell_silent_the_page_keeps_what_it_has_counted(seen: Seen) -> None:
    seen.look(lag=3.0)
    seen.now = datetime(2026, 11, 25, tzinfo=UTC)

    relay = laid_out(seen.look(None), "serve", alive=False, end=None)["relay"]

    assert (relay["alive"], relay["pid"], relay["lag"], relay["sent"]) == (False, None, None, 10)
