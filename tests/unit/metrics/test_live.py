"""What is told of gateways and journals: added up, bounded, and left out where it is not known."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import redis

from llm_one_api.metrics.journals import FromJournals
from llm_one_api.metrics.labels import Known
from llm_one_api.metrics.live import FromGateways
from llm_one_api.stores.gateways import Heard, JournalFigures
from llm_one_api.stores.journal import status
from llm_one_api.stores.journal.segments import journal_id, prepare
from llm_one_api.stores.journal.status import NONE, Figures, RelayStatus
from llm_one_api.stores.upstreams.messages import (
    CallFigures,
    Condition,
    MemberFigures,
    ModelFigures,
    ProcessFigures,
    Standing,
    Told,
)
from tests.harness.metrics import Samples, samples, value

NOW = 1_800_000_000_000_000
KNOWN = Known(["m"], ["one", "two", "off"])
FIGURES = JournalFigures(relay_tells=True, bytes=5, lost=2, lag_records=3, lag_seconds=0.5, unsettled=1)


def member(name: str, in_flight: int = 0, weight: int = 1) -> MemberFigures:
    return MemberFigures(
        name=name, weight=weight, max_concurrent=None, kept=False, in_flight=in_flight, requests=1, failures=0,
        ttft={}, duration={}, error=None, error_at=0,
    )  # fmt: skip


def process(*members: MemberFigures, model: str = "m", waiting: int = 0, **keys: tuple[int, int]) -> ProcessFigures:
    figures = ModelFigures(model=model, strategy="random", fallbacks=(), waiting=waiting, upstreams=members)
    return ProcessFigures(config_read_at=1, models=[figures], calls=CallFigures(keys=keys))


def read(*processes: ProcessFigures, conditions: Any = None, standings: Any = (), counts: Any = None) -> Samples:
    told = Told(NOW, {str(n): each for n, each in enumerate(processes)}, standings, conditions or {})
    return samples(FromGateways(lambda: told, lambda: Heard(counts or {}, {}), KNOWN)())


def test_what_is_under_way_is_added_up_over_processes() -> None:
    found = read(
        process(member("one", 2), waiting=1, key_a=(3, 40)),
        process(member("one", 1), waiting=2, key_a=(1, 2), key_b=(2, 5)),
        standings=[[Standing("m\tone", 4, 0, 0, 0, 0, 0)]],
    )

    assert value(found, "llm_gateway_processes") == 2
    assert value(found, "llm_active_requests") == 6
    assert value(found, "llm_last_minute_requests") == 47
    assert value(found, "llm_upstream_active_requests", model="m", upstream="one") == 7
    assert value(found, "llm_waiting_requests", model="m") == 3


def test_an_upstream_that_rests_is_down_and_one_that_is_off_is_neither() -> None:
    resting = Condition(state="ejected", why="http_500", until=NOW + 10**6, since=NOW, rests=1)

    found = read(process(member("one"), member("two"), member("off", weight=0)), conditions={"m\ttwo": resting})

    ups = [value(found, "llm_upstream_up", model="m", upstream=name) for name in ("one", "two", "off")]
    assert ups == [1, 0, None]


def test_models_that_the_config_does_not_know_are_one() -> None:
    found = read(process(member("one", 1), model="x"), process(member("one", 2), model="y"))

    assert value(found, "llm_upstream_active_requests", model="other", upstream="one") == 3
    assert value(found, "llm_upstream_up", model="other", upstream="one") is None


def test_where_no_gateway_is_heard_of_nothing_is_said_of_what_it_does() -> None:
    found = read()

    assert value(found, "llm_gateway_processes") == 0
    assert value(found, "llm_active_requests") is None


def test_counts_that_no_record_has_are_there_from_the_start() -> None:
    found, none = read(counts={"auth_failures flood": 4, "unlimited_requests": 2}), read()

    assert value(found, "llm_auth_failures_total", reason="flood") == 4
    assert value(found, "llm_auth_failures_total", reason="invalid_key") == 0
    assert value(found, "llm_unlimited_request_total") == 2
    assert value(none, "llm_auth_failures_total", reason="flood") == 0


def relay_status(**changes: Any) -> RelayStatus:
    now = datetime.now(UTC)
    told = RelayStatus(
        at=now, pid=1, started_at=now, lag=1.5, oldest_unacked=None, unacked_batches=1, planned_batches=0,
        journal_bytes=0, acked_bytes=0, broker_away_since=None, acks_away_since=None, sent=9, acked=8, resent=0,
        lost_at=None, pruned_until=None, gone=NONE, there={}, unsettled=2, unacked_records=7,
    )  # fmt: skip
    return msgspec.structs.replace(told, **changes)


def journals(folder: Path, heard: dict[str, JournalFigures] | None, at: float | None = None) -> Samples:
    def hear() -> Heard:
        if heard is None:
            raise redis.ConnectionError
        return Heard({}, heard)

    return samples(FromJournals(folder, hear, lambda: time.time() if at is None else at)())


def test_the_journal_of_this_machine_is_read_from_its_files_also_while_redis_is_away(tmp_path: Path) -> None:
    prepare(tmp_path)
    name = journal_id(tmp_path)
    status.write(tmp_path, relay_status(gone=Figures(lost=3)))

    for heard in ({name: FIGURES}, None):
        found = journals(tmp_path, heard)
        assert value(found, "llm_relay_up", journal=name[:8]) == 1
        assert value(found, "llm_relay_lag_records", journal=name[:8]) == 7
        assert value(found, "llm_relay_lag_seconds", journal=name[:8]) == 1.5
        assert value(found, "llm_relay_unsettled_requests", journal=name[:8]) == 2
        assert value(found, "llm_lost_records_total", journal=name[:8]) == 3


def test_journals_of_other_machines_are_those_that_their_gateways_tell_of(tmp_path: Path) -> None:
    silent = JournalFigures(relay_tells=False, bytes=None, lost=None)

    found = journals(tmp_path / "none", {"aaaaaaaabb": FIGURES, "bbbbbbbbcc": silent})

    assert value(found, "llm_relay_lag_records", journal="aaaaaaaa") == 3
    assert value(found, "llm_relay_up", journal="bbbbbbbb") == 0
    assert value(found, "llm_relay_lag_records", journal="bbbbbbbb") is None
    assert value(found, "llm_journal_bytes", journal="bbbbbbbb") is None


def test_what_a_relay_told_long_ago_is_left_out_but_for_what_it_has_counted(tmp_path: Path) -> None:
    prepare(tmp_path)
    name = journal_id(tmp_path)[:8]
    status.write(tmp_path, relay_status(gone=Figures(lost=3)))

    found = journals(tmp_path, {}, at=time.time() + 60)

    assert value(found, "llm_relay_up", journal=name) == 0
    assert value(found, "llm_relay_lag_seconds", journal=name) is None
    assert value(found, "llm_lost_records_total", journal=name) == 3
