"""The memory plugin's totals in a real Redis, beside a ledger that says something else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import redis

from llm_one_api.books.audit import memory as checking
from llm_one_api.books.audit.memory import MemoryCheck
from llm_one_api.plugins import memory as counting
from llm_one_api.plugins.interfaces import PluginConfig, ResponseInfo
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import Usage
from tests.harness import records
from tests.harness.records import AT, record
from tests.unit.books.audit.looking import context, pairs, tamper

CHECK = MemoryCheck()


@pytest.fixture
def memory(tmp_path: Path, redis_url: str) -> Iterator[MemoryStatsPlugin]:
    it = MemoryStatsPlugin(PluginConfig({}, records.context(tmp_path, redis_url=redis_url)))
    yield it
    it.cleanup()


@pytest.fixture(autouse=True)
def _filled(ledger: Ledger) -> None:
    """Six calls of two keys and two models, some with little known of them."""
    ledger.ingest(
        [
            record(1),
            record(2, key="key_2", duration=0.0000015),
            record(3, model="gpt-4", duration=1.0000005),
            record(4, model="gpt-4", usage=Usage(), duration=None),
            record(5, key="key_2", usage=Usage(prompt_tokens=3)),
            record(6),
        ]
    )


def count(ledger: Ledger, memory: MemoryStatsPlugin, limit: int = 100) -> None:
    """Deliver what is there, as the workers do."""
    place = memory.position(0)
    while kept := ledger.read(place, min(limit, 4)):
        infos = [ResponseInfo.of(one.record, ZoneInfo("UTC")) for one in kept]
        assert memory.record_batch(place, kept[-1].seq, infos)
        place, limit = kept[-1].seq, limit - len(kept)
        if limit <= 0:
            break


def test_what_was_delivered_agrees_to_the_microsecond(ledger: Ledger, memory: MemoryStatsPlugin) -> None:
    count(ledger, memory)

    found = CHECK.run(context(ledger, memory=memory))

    assert (found.state, found.notes) == ("agrees", [])
    assert found.compared == {"records": 6, "pairs of key and model": 3}


def test_what_is_not_counted_yet_is_no_difference(ledger: Ledger, memory: MemoryStatsPlugin) -> None:
    count(ledger, memory, limit=4)

    found = CHECK.run(context(ledger, memory=memory))

    assert found.state == "agrees"
    assert found.notes == ["2 records are not counted yet"]


def test_totals_that_were_changed_are_found_and_counted_anew(
    ledger: Ledger, memory: MemoryStatsPlugin, redis_url: str
) -> None:
    count(ledger, memory)
    with redis.Redis.from_url(redis_url) as client:
        client.hincrby("oneapi:memory:totals", 'requests["key_2","gpt-3.5-turbo"]', 1)

    found = CHECK.run(context(ledger, memory=memory))
    CHECK.repair(context(ledger, memory=memory), found)
    begun = CHECK.run(context(ledger, memory=memory))
    count(ledger, memory)
    after = CHECK.run(context(ledger, memory=memory))

    assert pairs(found) == [
        ({"key": "key_2", "model": "gpt-3.5-turbo", "figure": "requests"}, {"records": 2, "memory": 3})
    ]
    assert (begun.state, begun.notes) == ("agrees", ["6 records are not counted yet"])
    assert (after.state, after.compared["records"]) == ("agrees", 6)


def test_a_repair_lets_the_lease_go_again(ledger: Ledger, memory: MemoryStatsPlugin, redis_url: str) -> None:
    count(ledger, memory)
    with redis.Redis.from_url(redis_url) as client:
        client.delete("oneapi:memory:totals")

    CHECK.repair(context(ledger, memory=memory), CHECK.run(context(ledger, memory=memory)))

    assert ledger.cursors.lease("memory", "a worker", 60) is not None


def test_a_repair_goes_on_without_the_lease_if_a_delivery_never_ends(
    ledger: Ledger, memory: MemoryStatsPlugin, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "_PATIENCE", 0.1)
    count(ledger, memory)
    held = ledger.cursors.lease("memory", "a worker", 60)
    with redis.Redis.from_url(redis_url) as client:
        client.delete("oneapi:memory:totals")

    CHECK.repair(context(ledger, memory=memory), CHECK.run(context(ledger, memory=memory)))
    count(ledger, memory)

    assert held is not None
    assert CHECK.run(context(ledger, memory=memory)).state == "agrees"


def test_models_beyond_the_bound_are_compared_together(
    ledger: Ledger, memory: MemoryStatsPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MAX_PAIRS", 4)
    monkeypatch.setattr(checking, "MAX_PAIRS", 4)
    ledger.ingest([record(n, model=f"made-up-{n}") for n in range(10, 20)])
    count(ledger, memory)

    agrees = CHECK.run(context(ledger, memory=memory))
    tamper(ledger, "UPDATE records SET prompt_tokens = prompt_tokens + 1 WHERE model = 'made-up-19'")
    differs = CHECK.run(context(ledger, memory=memory))

    assert agrees.state == "agrees"
    [(what, says)] = pairs(differs)
    assert (what["model"], what["figure"]) == ("(other)", "prompt_tokens")
    assert says["records"] == says["memory"] + 1


def test_dead_letters_of_the_plugin_are_not_expected_in_it(ledger: Ledger, memory: MemoryStatsPlugin) -> None:
    tamper(
        ledger,
        "INSERT INTO dead_letters (consumer, seq, request_id, reason, tries, line, at)"
        " VALUES ('memory', 3, '0193-00000003', 'r', 8, '{}', '2026-01-01 00:00:00.000000')",
    )
    kept = [one for one in ledger.read(0, 9) if one.seq != 3]
    memory.position(0)
    memory.record_batch(0, 6, [ResponseInfo.of(one.record, ZoneInfo("UTC")) for one in kept])

    found = CHECK.run(context(ledger, memory=memory))

    assert (found.state, found.compared["records"]) == ("agrees", 5)


def test_a_run_whose_records_are_deleted_cannot_be_checked_any_more(ledger: Ledger, memory: MemoryStatsPlugin) -> None:
    count(ledger, memory)
    ledger.retention.delete_records(AT + timedelta(seconds=2), 6)

    found = CHECK.run(context(ledger, memory=memory))

    assert found.unchecked is None
    assert found.elsewhere is not None
    assert "deleted" in found.elsewhere


def test_a_redis_that_is_away_is_neither_agreement_nor_difference(ledger: Ledger, tmp_path: Path) -> None:
    away = MemoryStatsPlugin(PluginConfig({}, records.context(tmp_path)))

    found = CHECK.run(context(ledger, memory=away))

    assert (found.state, found.unchecked) == ("unchecked", "Redis is away (ConnectionError)")


@pytest.mark.parametrize(("name", "field"), [("run", "seq"), ("totals", 'requests["key_2","gpt-4"]')])
def test_keys_that_hold_what_it_never_writes_are_neither(
    ledger: Ledger, memory: MemoryStatsPlugin, redis_url: str, name: str, field: str
) -> None:
    count(ledger, memory)
    with redis.Redis.from_url(redis_url) as client:
        client.hset(f"oneapi:memory:{name}", field, "many")

    found = CHECK.run(context(ledger, memory=memory))

    assert found.state == "unchecked"
    assert "damaged" in str(found.unchecked)


def test_where_nothing_counts_there_is_nothing_to_compare(ledger: Ledger, memory: MemoryStatsPlugin) -> None:
    assert CHECK.run(context(ledger)).state == "elsewhere"
    assert CHECK.run(context(ledger, memory=memory)).state == "elsewhere"
