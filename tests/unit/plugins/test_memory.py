"""The memory plugin's sums, in a real Valkey."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis

from llm_one_api.plugins import memory
from llm_one_api.plugins.interfaces import PluginConfig, ResponseInfo
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.stores.counters import connect
from llm_one_api.values import Usage
from tests.harness.records import bare, context, info

Make = Callable[..., MemoryStatsPlugin]


@pytest.fixture
def make(redis_url: str) -> Iterator[Make]:
    made = []

    def _make(**section: Any) -> MemoryStatsPlugin:
        made.append(MemoryStatsPlugin(PluginConfig(section, context(Path(), redis_url=redis_url))))
        return made[-1]

    yield _make
    for plugin in made:
        plugin.cleanup()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


def unknown(number: int = 1, **changes: Any) -> ResponseInfo:
    return ResponseInfo.of(bare(number, **changes), ZoneInfo("UTC"))


def test_the_figures_are_per_model_and_in_all(make: Make) -> None:
    plugin = make()

    plugin.position(0)
    plugin.record_batch(0, 3, [info(1), info(2, duration=0.5), info(3, model="gpt-4", usage=Usage(total_tokens=7))])

    stats = plugin.get_stats()
    newest = stats.pop("newest")
    assert stats == {
        "since": "2025-11-12T10:00:00.123456+00:00",
        "total_requests": 3,
        "models": {
            "gpt-3.5-turbo": {
                "requests": 2,
                "prompt_tokens": 100,
                "completion_tokens": 240,
                "total_tokens": 340,
                "duration": 3.0,
                "avg_tokens": 170.0,
                "avg_duration": 1.5,
            },
            "gpt-4": {
                "requests": 1,
                "prompt_tokens": None,
                "completion_tokens": None,
                "total_tokens": 7,
                "duration": 2.5,
                "avg_tokens": 7.0,
                "avg_duration": 2.5,
            },
        },
    }
    assert [entry["request_id"] for entry in newest] == [info(n)["request_id"] for n in (3, 2, 1)]
    assert newest[2]["tokens"] == {"prompt_tokens": 50, "completion_tokens": 120, "total_tokens": 170}
    assert json.dumps(stats)


def test_averages_are_over_the_calls_where_the_figure_is_known(make: Make) -> None:
    plugin = make()

    plugin.position(0)
    plugin.record_batch(0, 3, [info(1, model="m"), unknown(2), unknown(3, usage=Usage(total_tokens=0))])

    model = plugin.get_stats()["models"]["m"]
    assert (model["requests"], model["total_tokens"], model["avg_tokens"]) == (3, 170, 85.0)
    assert (model["duration"], model["avg_duration"]) == (2.5, 2.5)


def test_a_batch_counts_once_however_often_it_comes(make: Make) -> None:
    one, other = make(), make()
    one.position(0)

    counted = [plugin.record_batch(0, 2, [info(1), info(2)]) for plugin in (one, other, one)]

    assert counted == [True, False, False]
    assert other.get_stats()["total_requests"] == 2
    assert other.position(0) == 2


def test_many_processes_that_race_for_a_batch_count_it_once(make: Make) -> None:
    plugins = [make() for _ in range(8)]
    plugins[0].position(0)

    def race(plugin: MemoryStatsPlugin) -> int:
        won = 0
        while (place := plugin.position(0)) < 100:
            won += plugin.record_batch(place, place + 1, [info(place + 1)])
        return won

    with ThreadPoolExecutor(8) as pool:
        won = sum(pool.map(race, plugins))

    assert won == 100
    assert plugins[0].get_stats()["total_requests"] == 100


def test_only_the_newest_are_kept_one_by_one(make: Make) -> None:
    plugin = make(max_records=3)

    plugin.position(0)
    plugin.record_batch(0, 5, [info(n) for n in range(1, 6)])
    plugin.record_batch(5, 6, [info(6)])

    stats = plugin.get_stats()
    assert [entry["request_id"][-1] for entry in stats["newest"]] == ["6", "5", "4"]
    assert stats["total_requests"] == 6


def test_with_max_records_zero_only_totals_are_kept(make: Make, client: redis.Redis) -> None:
    plugin = make(max_records=0)

    plugin.position(0)
    plugin.record_batch(0, 1, [info(1)])

    assert plugin.get_stats()["newest"] == []
    assert client.exists("oneapi:memory:newest") == 0


def test_a_key_sees_its_own_calls_only(make: Make, client: redis.Redis) -> None:
    plugin = make()
    plugin.position(0)
    plugin.record_batch(0, 3, [info(1), info(2, key="key_other"), info(3, key="key_other", model="gpt-4")])

    own = memory.read(client, "oneapi:", key="key_3f9a1c22")
    nobodys = memory.read(client, "oneapi:", key="key_unseen")

    assert (own["total_requests"], list(own["models"]), len(own["newest"])) == (1, ["gpt-3.5-turbo"], 1)
    assert nobodys == {"since": None, "total_requests": 0, "models": {}, "newest": []}


def test_before_the_first_call_there_is_nothing_to_read(client: redis.Redis, redis_url: str) -> None:
    assert memory.read(client, "oneapi:") == {"since": None, "total_requests": 0, "models": {}, "newest": []}


def test_installations_with_different_prefixes_do_not_mix(redis_url: str, client: redis.Redis) -> None:
    import msgspec

    other = msgspec.structs.replace(context(Path(), redis_url=redis_url), key_prefix="other:")
    plugin = MemoryStatsPlugin(PluginConfig({}, other))
    plugin.position(0)
    plugin.record_batch(0, 1, [info(1)])
    plugin.cleanup()

    assert memory.read(client, "oneapi:")["total_requests"] == 0
    assert memory.read(client, "other:")["total_requests"] == 1
    assert all(str(key).startswith("other:") for key in client.keys("*"))


def test_the_last_to_leave_ends_the_run_and_the_next_begins_where_it_ended(make: Make) -> None:
    plugin = make()
    for who in ("one", "two", "three"):
        plugin.join(who)
    plugin.position(0)
    plugin.record_batch(0, 2, [info(1), info(2)])

    left = [make().leave(who) for who in ("two", "one", "three")]
    plugin.record_batch(2, 3, [info(3)])

    assert left[:2] == [None, None]
    assert left[2] is not None
    assert (left[2].total_requests, left[2].upto) == (2, 2)
    stats = plugin.get_stats()
    assert (stats["total_requests"], len(stats["newest"])) == (1, 1)
    assert stats["since"] == info(3)["timestamp"]


def test_while_others_take_part_the_run_goes_on(make: Make) -> None:
    plugin = make()
    plugin.join("stays")
    plugin.join("leaves")
    plugin.position(0)
    plugin.record_batch(0, 1, [info(1)])

    left = plugin.leave("leaves")
    plugin.record_batch(1, 2, [info(2)])

    assert left is None
    assert plugin.get_stats()["total_requests"] == 2


def test_of_many_that_leave_at_once_one_is_given_the_run(make: Make) -> None:
    plugin = make()
    plugin.position(0)
    plugin.record_batch(0, 1, [info(1)])
    others = {str(number): make() for number in range(8)}
    for who, other in others.items():
        other.join(who)

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda who: others[who].leave(who), others))

    assert len([run for run in runs if run is not None]) == 1


def test_who_was_killed_takes_part_no_longer_after_a_while(make: Make, client: redis.Redis) -> None:
    plugin = make()
    plugin.join("killed")
    plugin.join("joins again and again")
    plugin.position(0)
    plugin.record_batch(0, 1, [info(1)])
    passes(client, memory.PRESENT_FOR, "killed", "joins again and again")
    plugin.join("joins again and again")

    too_early = plugin.leave("me")
    run = plugin.leave("joins again and again")

    assert too_early is None
    assert run is not None
    assert run.total_requests == 1


def test_a_run_without_calls_is_not_ended_and_goes_on(make: Make) -> None:
    plugin = make()
    plugin.position(5)

    assert plugin.leave("me") is None
    assert plugin.place() == 5


def test_a_run_that_begins_has_nothing_of_one_that_was_killed(make: Make) -> None:
    plugin = make()
    assert plugin.begin("me", 0)
    plugin.record_batch(0, 2, [info(1), info(2)])

    begun = plugin.begin("me", 7)
    counted = plugin.record_batch(7, 8, [info(3)])

    assert begun
    assert counted
    assert (plugin.get_stats()["total_requests"], len(plugin.get_stats()["newest"])) == (1, 1)
    assert plugin.get_stats()["since"] == info(3)["timestamp"]
    run = plugin.leave("me")
    assert run is not None
    assert run.total_requests == 1


def test_a_run_that_others_take_part_in_is_joined_and_not_begun_anew(make: Make) -> None:
    plugin = make()
    plugin.join("other")
    plugin.position(0)
    plugin.record_batch(0, 1, [info(1)])

    begun = plugin.begin("me", 7)

    assert not begun
    assert plugin.place() == 1
    assert plugin.leave("other") is None
    assert plugin.leave("me") is not None


def test_who_took_part_is_forgotten_in_the_end(make: Make, client: redis.Redis) -> None:
    make().join("me")

    assert 0 < client.ttl("oneapi:memory:present") <= memory.PRESENT_FOR


def passes(client: redis.Redis, seconds: float, *who: str) -> None:
    """Let time pass for those who took part."""
    for each in who:
        client.zincrby("oneapi:memory:present", -seconds, each)


def test_after_redis_lost_its_data_counting_begins_again_where_it_is_told(make: Make, client: redis.Redis) -> None:
    plugin = make()
    plugin.position(0)
    plugin.record_batch(0, 9, [info(1)])
    client.flushall()

    refused = plugin.record_batch(9, 10, [info(2)])

    assert refused is False
    assert plugin.place() is None
    assert plugin.position(4) == 4


def test_a_flood_of_invented_models_does_not_fill_redis(make: Make) -> None:
    plugin = make(max_records=0)
    plugin.position(0)
    count = memory.MAX_PAIRS + 500

    for start in range(0, count, 500):
        plugin.record_batch(start, start + 500, [info(n, model=f"invented-{n}") for n in range(start, start + 500)])
    plugin.record_batch(count, count + 1, [info(1, model="invented-3")])

    models = plugin.get_stats()["models"]
    assert len(models) == memory.MAX_PAIRS + 1
    assert models["(other)"]["requests"] == 500
    assert models["invented-3"]["requests"] == 2


@pytest.mark.parametrize("nasty", ["", "a[b]", '"', "\n", "模型", "\ud800", "x" * 200, "requests"])
def test_any_name_comes_back_as_it_was(make: Make, nasty: str) -> None:
    plugin = make()
    plugin.position(0)

    plugin.record_batch(0, 1, [info(1, model=nasty, user=nasty, key=nasty)])

    stats = plugin.get_stats()
    assert list(stats["models"]) == [nasty]
    assert (stats["newest"][0]["model"], stats["newest"][0]["user"]) == (nasty, nasty)


def test_durations_add_up_exactly(make: Make) -> None:
    plugin = make(max_records=0)
    plugin.position(0)

    for batch in range(10):
        plugin.record_batch(batch * 100, batch * 100 + 100, [info(1, duration=0.1)] * 100)

    assert plugin.get_stats()["models"]["gpt-3.5-turbo"]["duration"] == 100.0


def test_an_unreachable_redis_is_an_error_within_a_second(tmp_path: Path) -> None:
    plugin = MemoryStatsPlugin(PluginConfig({}, context(tmp_path, redis_url=f"unix://{tmp_path}/nothing")))

    with pytest.raises(redis.RedisError):
        plugin.position(0)
    plugin.cleanup()


def test_what_is_counted_can_be_compared_with_the_records_from_where_the_run_began(
    make: Make, client: redis.Redis
) -> None:
    infos = [info(1), info(2, key="other", duration=0.1), unknown(3), info(4, model="gpt-4")]
    plugin = make()
    plugin.position(6)

    plugin.record_batch(6, 8, infos[:2])
    plugin.record_batch(8, 9, [])
    plugin.record_batch(9, 10, infos[2:])

    view = memory.audit_view(client, "oneapi:")
    assert view is not None
    assert (view.since, view.place) == (6, 10)
    assert view.totals == memory.sums(infos)


@pytest.mark.parametrize("begun_by", ["position", "begin", "leave", "restart"])
def test_a_run_knows_where_it_began(make: Make, client: redis.Redis, begun_by: str) -> None:
    plugin = make()
    if begun_by in {"leave", "restart"}:
        plugin.position(0)
        plugin.record_batch(0, 7, [info(1)])

    begin: dict[str, Callable[[], object]] = {
        "position": lambda: plugin.position(7),
        "begin": lambda: plugin.begin("me", 7),
        "leave": lambda: plugin.leave("me"),
        "restart": lambda: plugin.restart(7),
    }
    begin[begun_by]()
    plugin.record_batch(7, 8, [info(2)])

    view = memory.audit_view(client, "oneapi:")
    assert view is not None
    assert (view.since, view.place, view.totals) == (7, 8, memory.sums([info(2)]))


def test_before_there_is_a_run_there_is_nothing_to_compare(client: redis.Redis) -> None:
    assert memory.audit_view(client, "oneapi:") is None


def test_a_run_that_is_restarted_forgets_what_it_has_and_who_takes_part_stays(make: Make) -> None:
    plugin = make()
    plugin.join("other")
    plugin.position(0)
    plugin.record_batch(0, 2, [info(1), info(2)])

    plugin.restart(1)
    counted = plugin.record_batch(1, 2, [info(2)])

    assert counted
    stats = plugin.get_stats()
    assert (stats["total_requests"], len(stats["newest"]), stats["since"]) == (1, 1, info(2)["timestamp"])
    assert plugin.leave("me") is None
