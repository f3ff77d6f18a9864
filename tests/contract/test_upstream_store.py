"""What processes tell one another of the upstreams, on each server: who has what under way, and who rests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from llm_one_api.stores.upstreams.messages import Condition, MemberFigures, ModelFigures, ProcessFigures, Standing
from llm_one_api.stores.upstreams.store import ALIVE_SECONDS, FIGURES_SECONDS, KEPT_SECONDS, UpstreamStore
from tests.contract.conftest import Home
from tests.harness.services import Valkey

M1 = "m\tone"
AT = 1_800_000_000_123_457


@pytest.fixture(scope="module")
def shared_store(limit_home: Home) -> Iterator[UpstreamStore]:
    with closing(UpstreamStore(limit_home.server.url, "t:", timeout=5)) as store:
        yield store


@pytest.fixture
def store(shared_store: UpstreamStore, limit_server: Valkey) -> UpstreamStore:
    shared_store.ahead_ms = 0
    return shared_store


def standing(in_flight: int, key: str = M1) -> Standing:
    return Standing(key, in_flight, 1, 7, 2, AT, AT + 1)


def ejected(since: int, why: str = "http_500") -> Condition:
    return Condition(state="ejected", why=why, until=since + 30_000_000, since=since, rests=1)


def figures(requests: int) -> ProcessFigures:
    member = MemberFigures(
        name="one",
        weight=2,
        max_concurrent=None,
        kept=False,
        in_flight=0,
        requests=requests,
        failures=1,
        ttft={200: requests},
        duration={300: 1},
        error="http_500",
        error_at=AT,
    )
    model = ModelFigures(model="m", strategy="weighted", fallbacks=["n"], waiting=3, upstreams=[member])
    return ProcessFigures(config_read_at=AT, models=[model])


def test_each_process_hears_how_upstreams_stand_in_the_others(store: UpstreamStore) -> None:
    store.turn("a", [standing(1)], {})
    store.turn("b", [standing(2), standing(5, "m\ttwo")], {})

    heard = store.turn("c", [], {})

    assert heard.others == 2
    assert sorted(heard.standings, key=len) == [[standing(1)], [standing(2), standing(5, "m\ttwo")]]
    assert store.turn("a", [standing(9)], {}).standings == [[standing(2), standing(5, "m\ttwo")]]


def test_what_a_process_says_stands_in_place_of_what_it_said_before(store: UpstreamStore) -> None:
    store.turn("a", [standing(1), standing(3, "m\ttwo")], {})
    store.turn("a", [standing(4)], {})

    assert store.turn("b", [], {}).standings == [[standing(4)]]
    store.turn("a", [], {})
    assert store.turn("b", [], {}).standings == []


def test_a_silent_process_has_nothing_under_way_after_three_seconds(store: UpstreamStore) -> None:
    store.turn("a", [standing(1)], {})

    store.ahead_ms = round(ALIVE_SECONDS * 1000) - 500
    assert len(store.turn("b", [], {}).standings) == 1
    store.ahead_ms = round(ALIVE_SECONDS * 1000) + 500
    heard = store.turn("b", [], {})
    assert (heard.standings, heard.others) == ([], 0)


def test_a_process_that_ends_is_heard_and_shown_no_more(store: UpstreamStore) -> None:
    store.turn("a", [standing(1)], {}, figures=figures(1))

    store.leave("a")

    assert store.turn("b", [], {}).standings == []
    assert store.read().processes == {}


def test_a_condition_is_told_to_the_others_once(store: UpstreamStore) -> None:
    before = store.turn("b", [], {})
    store.turn("a", [], {M1: ejected(AT)})

    heard = store.turn("b", [], {}, version=before.version)

    assert heard.conditions == {M1: ejected(AT)}
    assert heard.version != before.version
    again = store.turn("b", [], {}, version=heard.version)
    assert (again.conditions, again.version) == ({}, heard.version)


def test_whoever_comes_new_hears_all_conditions(store: UpstreamStore) -> None:
    store.turn("a", [], {M1: ejected(AT), "m\ttwo": ejected(AT + 1)})

    assert set(store.turn("new", [], {}).conditions) == {M1, "m\ttwo"}


def test_of_two_conditions_the_one_that_was_found_later_stands_whichever_is_told_first(store: UpstreamStore) -> None:
    late, early = ejected(AT + 1, "error_rate"), ejected(AT)
    store.turn("a", [], {M1: late})

    heard = store.turn("b", [], {M1: early})

    assert heard.conditions == {M1: late}
    well = Condition(state="healthy", why="", until=0, since=AT + 2, rests=0)
    assert store.turn("b", [], {M1: well}).conditions == {M1: well}


def test_a_condition_that_nobody_changes_is_forgotten_in_the_end(store: UpstreamStore) -> None:
    store.turn("a", [], {M1: ejected(AT)})

    store.ahead_ms = round(KEPT_SECONDS * 1000)  # it rests for 30 s, which count before
    store.turn("a", [], {}, figures=figures(1))
    assert store.turn("a", [], {}).conditions == {M1: ejected(AT)}
    store.ahead_ms += 31_000
    store.turn("a", [], {}, figures=figures(1))
    assert store.turn("a", [], {}).conditions == {}


def test_figures_are_those_that_each_process_told_last(store: UpstreamStore) -> None:
    store.turn("a", [standing(3)], {}, figures=figures(1))
    store.turn("b", [], {}, figures=figures(10))
    store.turn("a", [standing(4)], {M1: ejected(AT)}, figures=figures(2))
    store.turn("a", [standing(5)], {})
    store.turn("silent", [], {})

    told = store.read()

    assert told.processes == {"a": figures(2), "b": figures(10)}
    assert told.standings == [[standing(5)]]
    assert told.conditions == {M1: ejected(AT)}


def test_figures_of_a_process_that_is_gone_are_shown_for_a_while_and_then_deleted(
    store: UpstreamStore, limit_home: Home
) -> None:
    store.turn("a", [standing(1)], {}, figures=figures(1))

    store.ahead_ms = round(FIGURES_SECONDS * 1000) - 500
    assert set(store.read().processes) == {"a"}
    store.ahead_ms += 1000
    assert store.read().processes == {}
    store.turn("b", [], {}, figures=figures(1))
    assert limit_home.client.hkeys("t:upstreams:figures") == [b"b"]
    assert limit_home.client.hkeys("t:upstreams:standings") == []


def test_nothing_is_left_in_redis_for_ever(store: UpstreamStore, limit_home: Home) -> None:
    store.turn("a", [standing(1)], {M1: ejected(AT)}, figures=figures(1))
    assert store.claim(M1, 5)

    keys: list[Any] = limit_home.client.keys("*")

    assert len(keys) == 7
    assert [key for key in keys if limit_home.client.ttl(key) == -1] == []


def test_a_claim_is_given_to_one_and_comes_back_by_itself(store: UpstreamStore) -> None:
    assert store.claim(M1, 60)
    assert not store.claim(M1, 60)
    assert store.claim("m\ttwo", 0.001)
    while not store.claim("m\ttwo", 60):
        pass


def test_a_server_that_lost_its_data_tells_that_nothing_is_known(store: UpstreamStore, limit_home: Home) -> None:
    version = store.turn("a", [standing(1)], {M1: ejected(AT)}).version
    limit_home.client.flushall()

    heard = store.turn("b", [], {}, version=version)

    assert (heard.conditions, heard.version, heard.others) == ({}, "", 0)


def test_nobody_there_is_said_at_once() -> None:
    with closing(UpstreamStore("unix:///tmp/nobody-is-there", "t:")) as store, pytest.raises(redis.ConnectionError):
        store.turn("a", [], {})
