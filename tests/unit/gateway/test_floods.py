"""Who tries key after key is kept out by address; who has a good key is not."""

from __future__ import annotations

import tracemalloc

import pytest
from structlog.testing import capture_logs

from llm_one_api.errors import InvalidKey, RateLimited
from llm_one_api.gateway.authenticate import Authenticate
from llm_one_api.gateway.floods import MOST_ADDRESSES, MOST_KEYS, Floods, Lately
from llm_one_api.plugins.interfaces import AuthPlugin, AuthResult, PluginConfig
from llm_one_api.values import Peer

HERE: Peer = ("192.0.2.1", "")
THERE: Peer = ("192.0.2.2", "")


class Door(AuthPlugin):
    """Knows some keys, and counts how often it is asked."""

    def __init__(self, *keys: str) -> None:
        super().__init__(PluginConfig())
        self.keys = {*keys}
        self.asked = 0

    def authenticate(self, api_key: str) -> AuthResult:
        self.asked += 1
        return AuthResult(authenticated=api_key in self.keys)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door() -> Door:
    return Door("good", "other")


def guarded(door: Door, clock: Clock, per_minute: int = 3) -> tuple[Authenticate, Floods]:
    floods = Floods(per_minute=per_minute, clock=clock)
    return Authenticate([door], floods), floods


def fail(authenticate: Authenticate, peer: Peer = HERE, times: int = 1, key: str = "bad") -> None:
    for _ in range(times):
        with pytest.raises(InvalidKey):
            authenticate(key, peer)


@pytest.mark.parametrize("per_minute", [1, 3, 7, 600])
def test_so_many_wrong_keys_a_minute_are_told_so_and_of_more_no_plugin_is_asked(
    door: Door, clock: Clock, per_minute: int
) -> None:
    authenticate, floods = guarded(door, clock, per_minute)
    fail(authenticate, times=per_minute)

    with pytest.raises(RateLimited) as refused:
        authenticate("bad", HERE)

    assert door.asked == per_minute
    assert (floods.failed, floods.turned_away) == (per_minute, 1)
    assert refused.value.retry_after == pytest.approx(60 / per_minute)


@pytest.mark.parametrize("key", ["", "bad", "\ud800"])
def test_a_missing_key_and_one_that_can_be_none_count_as_well(door: Door, clock: Clock, key: str) -> None:
    authenticate, _ = guarded(door, clock)
    fail(authenticate, times=3, key=key)

    with pytest.raises(RateLimited):
        authenticate(key, HERE)


def test_who_waits_as_told_is_heard_again(door: Door, clock: Clock) -> None:
    authenticate, _ = guarded(door, clock)
    fail(authenticate, times=3)
    with pytest.raises(RateLimited) as refused:
        authenticate("bad", HERE)
    assert refused.value.retry_after is not None

    clock.now += refused.value.retry_after

    fail(authenticate)
    with pytest.raises(RateLimited):
        authenticate("bad", HERE)


def test_other_addresses_are_not_meant(door: Door, clock: Clock) -> None:
    authenticate, _ = guarded(door, clock)
    fail(authenticate, times=3)

    fail(authenticate, THERE)
    authenticate("good", THERE)


def test_a_key_that_was_good_lately_gets_in_whatever_its_neighbours_do(door: Door, clock: Clock) -> None:
    authenticate, _ = guarded(door, clock)
    authenticate("good", HERE)
    fail(authenticate, times=3)

    assert authenticate("good", HERE).user.startswith("key_")
    with pytest.raises(RateLimited):
        authenticate("other", HERE)  # good, but nobody knows that yet


def test_a_key_that_is_good_no_more_is_a_stranger(door: Door, clock: Clock) -> None:
    authenticate, _ = guarded(door, clock)
    authenticate("good", HERE)
    fail(authenticate, times=3)
    door.keys.clear()
    fail(authenticate, key="good")

    with pytest.raises(RateLimited):
        authenticate("good", HERE)


def test_good_keys_charge_their_address_nothing(door: Door, clock: Clock) -> None:
    authenticate, _ = guarded(door, clock)

    for _ in range(100):
        authenticate("good", HERE)

    fail(authenticate, times=3)


def test_what_a_plugin_fails_at_is_nobodys_wrong_key(clock: Clock) -> None:
    class Broken(Door):
        def authenticate(self, api_key: str) -> AuthResult:
            raise ConnectionError

    authenticate, floods = guarded(Broken(), clock)

    with pytest.raises(ConnectionError):
        authenticate("good", HERE)

    assert floods.failed == 0


def test_a_flood_is_logged_once_a_minute(door: Door, clock: Clock) -> None:
    authenticate, _ = guarded(door, clock, per_minute=1)
    fail(authenticate)

    with capture_logs() as logs:
        for seconds in (0, 1, 1, 57, 1):
            clock.now += seconds
            for _ in range(10):
                try:
                    authenticate("bad", HERE)
                except (RateLimited, InvalidKey):
                    continue

    told = [entry for entry in logs if entry["event"] == "auth.flood"]
    assert [entry["turned_away"] for entry in told] == [1, 40]
    assert told[0]["address"] == "192.0.2.1"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("192.0.2.1", ""), "192.0.2.1"),
        (("192.0.2.1", "198.51.100.7"), "192.0.2.1"),
        (("10.0.0.1", ""), "10.0.0.1"),
        (("10.0.0.1", "198.51.100.7"), "198.51.100.7"),
        (("10.0.0.1", "203.0.113.9, 198.51.100.7"), "198.51.100.7"),
        (("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.9.9.9"), "198.51.100.7"),
        (("10.0.0.1", "198.51.100.7:50312"), "198.51.100.7"),
        (("10.0.0.1", "[2001:db8:1:2:3:4:5:6]:443"), "2001:db8:1:2::/64"),
        (("10.0.0.1", "10.0.0.7, 10.0.0.8"), "10.0.0.7"),
        (("10.0.0.1", "203.0.113.9, nonsense"), "10.0.0.1"),
        (("10.0.0.1", ", ,,"), "10.0.0.1"),
        (("10.0.0.1", "198.51.100.7," + "10.0.0.2," * 100_000 + "203.0.113.9"), "203.0.113.9"),
        (("2001:db8:1:2:3:4:5:6", ""), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::", ""), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", ""), "fe80::/64"),
        (("::ffff:192.0.2.1", ""), "192.0.2.1"),
        (("::ffff:10.0.0.1", "198.51.100.7"), "198.51.100.7"),
        (("", "198.51.100.7"), "unknown"),
        (("a unix socket", ""), "unknown"),
    ],
)
def test_the_address_is_the_last_one_that_is_no_trusted_proxys(peer: Peer, address: str) -> None:
    floods = Floods(per_minute=1, trusted_proxies=("10.0.0.0/8", "2001:db8:f::/48"))

    assert floods.address(peer) == address


def test_a_caller_cannot_have_many_addresses_of_one_ipv6_network(door: Door, clock: Clock) -> None:
    authenticate, _ = guarded(door, clock)
    for last in range(3):
        fail(authenticate, (f"2001:db8::{last}", ""))

    with pytest.raises(RateLimited):
        authenticate("bad", ("2001:db8::ffff:ffff", ""))


def test_what_is_remembered_is_bounded_whoever_comes(clock: Clock) -> None:
    floods = Floods(per_minute=600, clock=clock)

    def flood(first: int, number: int) -> None:
        for n in range(first, first + number):
            floods.failure(f"bad-{n}", (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", ""))
            floods.passed(f"good-{n}")

    flood(0, 20_000)
    tracemalloc.start()
    flood(20_000, 25_000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (len(floods._good) <= MOST_KEYS, len(floods._spent) <= MOST_ADDRESSES) == (True, True)
    assert grown < 8 * 2**20  # what is new is there, instead of what is forgotten


def test_what_was_put_in_last_is_remembered() -> None:
    lately: Lately[int, int] = Lately(10)

    for n in range(1, 101):
        lately.put(n, n)

    assert [n for n in range(1, 101) if lately.get(n)][-5:] == [96, 97, 98, 99, 100]
    assert 5 <= len(lately) <= 10
    lately.drop(100)
    assert lately.get(100) is None
