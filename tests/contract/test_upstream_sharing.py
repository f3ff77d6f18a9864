"""What processes know together of the upstreams: each has its own part, over a real Redis."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import gevent
import pytest
from structlog.testing import capture_logs

from llm_one_api.gateway.upstreams.member import Member
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.gateway.upstreams.sharing import Sharing
from llm_one_api.plugins.interfaces import Candidate, LoadBalanceStrategy, PluginConfig
from llm_one_api.stores.upstreams.store import UpstreamStore
from llm_one_api.targets import Balance, ModelRoute, Target, Upstream
from tests.harness.services import Valkey, valkey


class First(LoadBalanceStrategy):
    """Always chooses the first."""

    def choose(self, among: Sequence[Candidate]) -> Candidate:
        return among[0]


def route(model: str = "m", names: Sequence[str] = ("one", "two"), **more: Any) -> ModelRoute:
    targets = [
        Target(model=model, upstream_model=model, upstream=Upstream(name=name, base_url=f"http://{name}/v1", **more))
        for name in names
    ]
    return ModelRoute(model=model, targets=tuple(targets), balance=Balance(max_failures=2, cooldown=30))


class Process:
    """One process's part: what it knows, and its share in what all know."""

    def __init__(self, url: str, *, ahead: float = 0.0, routes: Sequence[ModelRoute] | None = None) -> None:
        def clock() -> float:
            return time.time() + ahead

        self.url, self.clock = url, clock
        self.members = Members(lambda _: First(PluginConfig()), clock)
        self.members.keep(routes or [route()])
        self.store = UpstreamStore(url, "s:")
        self.sharing = Sharing(self.members, self.store, every=0.02, figures_every=0.05, clock=clock)
        self.sharing.start()

    def member(self, name: str = "one", model: str = "m") -> Member:
        member = self.members.get(f"{model}\t{name}")
        assert member is not None
        return member

    def state(self, name: str = "one") -> str:
        return self.member(name).health.standing()

    def fail(self, name: str = "one") -> None:
        self.member(name).failed("http_500", trial=False, fresh=True)

    def answer(self, name: str = "one") -> None:
        self.member(name).answered(fresh=True)

    def close(self) -> None:
        self.sharing.stop()
        self.store.close()


Begin = Callable[..., Process]


@pytest.fixture
def begin(limit_server: Valkey) -> Iterator[Begin]:
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(closing(Process(limit_server.url, **how)))


def soon(so: Callable[[], object], what: str) -> None:
    until = time.monotonic() + 10
    while not so():
        assert time.monotonic() < until, f"not within 10 s: {what}"
        gevent.sleep(0.005)


def test_calls_under_way_are_counted_over_all_processes(begin: Begin) -> None:
    a, b, c = begin(), begin(), begin()

    a.member().own_in_flight = 2
    b.member().own_in_flight = 3

    soon(lambda: [p.member().health.others.in_flight for p in (a, b, c)] == [3, 2, 5], "all know")
    assert [p.member("two").health.others.in_flight for p in (a, b, c)] == [0, 0, 0]
    assert c.member().health.others.processes == 3
    b.member().own_in_flight = 0
    soon(lambda: c.member().health.others.in_flight == 2, "one has ended")


def test_what_a_process_had_under_way_that_ends_is_forgotten_at_once(begin: Begin) -> None:
    a, b = begin(), begin()
    a.member().own_in_flight = 2
    soon(lambda: b.member().health.others.in_flight == 2, "b knows")

    began = time.monotonic()
    a.sharing.stop()

    soon(lambda: b.member().health.others.in_flight == 0, "b knows that it has ended")
    assert time.monotonic() - began < 2


def test_an_upstream_that_one_process_ejects_rests_in_all_and_comes_back_in_all(begin: Begin) -> None:
    a, b = begin(), begin()
    with capture_logs() as logs:
        a.fail()
        a.fail()

        soon(lambda: b.state() == "ejected", "b has heard")
        mine, theirs = a.member().health.condition, b.member().health.condition
        assert (theirs.why, theirs.rests) == (mine.why, mine.rests) == ("http_500", 1)
        assert theirs.until == pytest.approx(mine.until, abs=0.2)

        b.answer()

        soon(lambda: a.state() == "healthy", "a has heard")
    events = [(line["event"], line["upstream"]) for line in logs if line["event"].startswith("upstream.")]
    assert events == [("upstream.ejected", "one"), ("upstream.recovered", "one")]  # by who found it, and by nobody else


def test_a_process_that_begins_knows_who_rests(begin: Begin) -> None:
    a = begin()
    a.fail()
    a.fail()

    late = begin()

    soon(lambda: late.state() == "ejected", "it has heard")


def test_a_model_that_comes_with_a_reload_has_the_state_that_the_others_know(begin: Begin) -> None:
    a, b = begin(routes=[route("new"), route()]), begin()
    a.member("one", "new").limited(600)
    soon(lambda: told_conditions(a), "it is told")
    gevent.sleep(0.1)  # b has heard of it, and has no such model

    b.members.keep([route("new"), route()])

    soon(lambda: b.member("one", "new").health.standing() == "paused", "it has heard")


def told_conditions(process: Process) -> bool:
    return bool(process.sharing._known)


def test_failures_one_after_the_other_count_over_all_processes(begin: Begin) -> None:
    a, b = begin(), begin()
    a.fail()
    soon(lambda: b.member().health.others.streak == 1, "b knows")

    b.fail()

    assert b.state() == "ejected"


def test_failures_before_an_answer_to_anybody_are_no_streak(begin: Begin) -> None:
    a, b, c = begin(), begin(), begin()
    a.fail()
    soon(lambda: [p.member().health.others.streak for p in (b, c)] == [1, 1], "b and c know")

    b.answer()

    soon(lambda: c.member().health.others.streak == 0, "c knows that b was answered")
    assert b.member().health.others.requests == 1
    c.fail()
    assert c.state() == "healthy"


def test_whatever_they_find_at_the_same_time_they_agree_in_the_end(begin: Begin) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    found = [begin(), begin(ahead=3600), begin(ahead=-40)]

    def happen(process: Process) -> None:
        member = process.member()
        match chance.randrange(4):
            case 0:
                member.answered(fresh=True)
            case 1:
                member.limited(chance.choice([600, 1200]))
            case _:
                trial = member.health.condition.state == "ejected"
                member.failed(f"http_{chance.randrange(500, 504)}", trial=trial, fresh=True)

    def conditions() -> set[Any]:
        known = [(p.clock(), p.member().health.condition) for p in found]
        return {(c.state, c.why, c.rests, round(c.until - now, 1) if c.until else 0) for now, c in known}

    for turn in range(30):
        for _ in range(chance.randrange(1, 9)):
            happen(chance.choice(found))
            if chance.random() < 0.5:
                gevent.sleep(chance.random() / 50)

        soon(lambda: len(conditions()) == 1, f"they agree (seed {seed}, turn {turn})")


@pytest.mark.parametrize("ahead", [-7200.0, 86400.0])
def test_clocks_of_hosts_need_not_agree(begin: Begin, ahead: float) -> None:
    a, b = begin(), begin(ahead=ahead)
    a.fail()
    a.fail()

    soon(lambda: b.state() == "ejected", "b has heard")

    left = [p.member().health.condition.until - p.clock() for p in (a, b)]
    assert left[1] == pytest.approx(left[0], abs=0.5)
    b.answer()
    soon(lambda: a.state() == "healthy", "a has heard")
    b.member("two").limited(600)
    soon(lambda: a.state("two") == "paused", "a has heard")


class Waits:
    """A call that waits for room."""

    served = False

    def take(self) -> bool:
        """Take any."""
        self.served = True
        return True


def test_calls_that_wait_are_woken_when_others_calls_end(begin: Begin) -> None:
    a, b = begin(), begin()
    waits = Waits()
    a.member().own_in_flight = 1
    soon(lambda: b.member().health.others.in_flight == 1, "b knows")
    b.member().group.waiting.append(waits)

    a.member().own_in_flight = 0

    soon(lambda: waits.served, "it is woken")


def test_figures_are_told_of_all_models_also_of_those_with_one_upstream(begin: Begin) -> None:
    a = begin(routes=[route(), route("lone", ["only"])])
    a.member("only", "lone").own_in_flight = 4
    a.member("one").own_in_flight = 7
    a.member("only", "lone").figures.add(failed=False, ttft=0.2, duration=0.4)
    with closing(UpstreamStore(a.url, "s:")) as store:

        def figures() -> Any:
            processes = store.read().processes.values()
            return {
                (m.model, u.name): (u.in_flight, u.requests) for p in processes for m in p.models for u in m.upstreams
            }

        soon(lambda: figures().get(("lone", "only")) == (4, 1), "it is told")
        assert figures()["m", "one"] == (0, 0)
        soon(lambda: [s.in_flight for p in store.read().standings for s in p] == [7], "that is told by its standing")


def test_a_probe_is_claimed_by_one_process_at_a_time(begin: Begin) -> None:
    a, b = begin(), begin()

    claims = [p.sharing.may_probe("m\tone", 60) for p in (a, b, a)]

    assert claims == [True, False, False]


def test_without_redis_a_process_goes_by_itself_and_says_so_once(tmp_path: Path) -> None:
    with valkey(tmp_path) as server, closing(Process(server.url)) as a, closing(Process(server.url)) as b:
        a.member().own_in_flight = 2
        a.fail("two")
        soon(lambda: b.member().health.others.in_flight == 2, "b knows")
        with capture_logs() as logs:
            server.kill()

            soon(lambda: b.sharing.is_alone and a.sharing.is_alone, "they have noticed")
            assert b.member().health.others.in_flight == 0
            assert b.sharing.may_probe("m\tone", 60)
            a.fail("two")
            assert (a.state("two"), b.state("two")) == ("ejected", "healthy")
            server.start()
            soon(lambda: not (b.sharing.is_alone or a.sharing.is_alone), "they are together again")
            soon(lambda: b.state("two") == "ejected", "b has heard")
            soon(lambda: b.member().health.others.in_flight == 2, "b knows")

        events = [line["event"] for line in logs if line["event"].startswith("upstreams.")]
        assert sorted(events) == ["upstreams.alone"] * 2 + ["upstreams.together"] * 2


def test_a_server_that_lost_its_data_is_told_again_who_rests(tmp_path: Path) -> None:
    with valkey(tmp_path) as server, closing(Process(server.url)) as a:
        a.fail()
        a.fail()
        soon(lambda: told_conditions(a), "it is told")
        server.kill()
        server.forget()
        server.start()

        with closing(Process(server.url)) as late:
            soon(lambda: late.state() == "ejected", "it has heard")
