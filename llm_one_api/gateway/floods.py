"""Keeps out whoever tries key after key: requests without a valid key are limited by the caller's address.

A key that was accepted here lately is never asked where it comes from, so a flood from behind one NAT or load balancer
does not lock out its neighbours. Each process counts for itself, in a bounded memory.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

from llm_one_api.errors import RateLimited
from llm_one_api.values import Peer

log = structlog.get_logger()

MOST_KEYS = 20_000
MOST_ADDRESSES = 20_000
"""How many are remembered; of more, those that came first are forgotten."""
_MINUTE = 60.0
_SAID_EVERY = 60.0
_ROUNDING = 1e-6
_BITS_OF_A_SITE = 64
"""Of an IPv6 address: what is behind them is one caller's own."""
_LONGEST_CHAIN = 2000
"""Characters of `X-Forwarded-For` that are looked at, from its end."""
_UNKNOWN = "unknown"
"""The address of all who have none that can be read."""

K = TypeVar("K")
V = TypeVar("V")


class Lately(Generic[K, V]):
    """A mapping that forgets: it holds between half of *most* and *most* of what was put in last."""

    def __init__(self, most: int) -> None:
        """Begin empty."""
        self._half = most // 2
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Look up *key*; None: it is not there, or not any more."""
        value = self._young.get(key)
        return self._old.get(key) if value is None else value

    def put(self, key: K, value: V) -> None:
        """Keep *value*."""
        self._young[key] = value
        if len(self._young) >= self._half:
            self._young, self._old = {}, self._young

    def drop(self, key: K) -> None:
        """Forget *key*."""
        self._young.pop(key, None)
        self._old.pop(key, None)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class Floods:
    """Counts failed requests by address, a minute's worth each, and remembers good keys."""

    def __init__(
        self,
        *,
        per_minute: int,
        trusted_proxies: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let *per_minute* requests of an address fail; *trusted_proxies* tell the addresses of those behind them."""
        self.allow(per_minute)
        self._trusted = tuple(ipaddress.ip_network(text) for text in trusted_proxies)
        self._clock = clock
        self._good: Lately[int, bool] = Lately(MOST_KEYS)
        self._spent: Lately[str, float] = Lately(MOST_ADDRESSES)
        """By address: when all that it was charged will be over. Each failure is charged its share of a minute."""
        self._said_at = -_SAID_EVERY
        self._said = 0
        self.failed = 0
        """Requests whose key was wrong or missing."""
        self.turned_away = 0
        """Requests that were not even asked whose key theirs is."""

    def allow(self, per_minute: int) -> None:
        """Let *per_minute* requests of an address fail from now on."""
        self._each = _MINUTE / per_minute

    def check(self, api_key: str, peer: Peer) -> None:
        """Let a request in to be asked whose key it has. Raises RateLimited: too many of its address had none."""
        if self._good.get(hash(api_key)):
            return
        now = self._clock()
        address = self.address(peer)
        over = (self._spent.get(address) or now) - now - (_MINUTE - self._each)
        if over > _ROUNDING:
            self.turned_away += 1
            self._say(address, now)
            raise RateLimited(
                "Too many requests without a valid API key came from your address. Please try again in "
                f"{over:.3g}s, with the key that you were given for this gateway.",
                of="requests",
                retry_after=over,
            )

    def passed(self, api_key: str) -> None:
        """Take note of a key that is good. Python's hash of it will do: who has the same one is asked all the same."""
        digest = hash(api_key)
        if not self._good.get(digest):
            self._good.put(digest, True)

    def failure(self, api_key: str, peer: Peer) -> None:
        """Take note of a key that is none, or none any more."""
        self.failed += 1
        self._good.drop(hash(api_key))
        address, now = self.address(peer), self._clock()
        self._spent.put(address, max(self._spent.get(address) or now, now) + self._each)

    def address(self, peer: Peer) -> str:
        """Tell where a request comes from: the last address that is none of the trusted proxies'."""
        address, forwarded = peer
        found = _read(address)
        if found is None:
            return _UNKNOWN
        hops = forwarded[-_LONGEST_CHAIN:].split(",") if forwarded else []
        while hops and self._is_trusted(found):
            before = _read(_without_port(hops.pop().strip()))
            if before is None:
                break  # what stands before it is no better
            found = before
        if found.version == 4:  # noqa: PLR2004
            return str(found)
        return str(ipaddress.ip_network((found.packed, _BITS_OF_A_SITE), strict=False))

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _say(self, address: str, now: float) -> None:
        """Log it, with one of the addresses, once a minute at most."""
        if now - self._said_at >= _SAID_EVERY:
            log.warning("auth.flood", address=address, turned_away=self.turned_away - self._said)
            self._said_at, self._said = now, self.turned_away


class Unguarded:
    """For whoever has no callers but its own."""

    def check(self, api_key: str, peer: Peer) -> None:
        """Let everybody in."""

    def passed(self, api_key: str) -> None:
        """Remember nothing."""

    def failure(self, api_key: str, peer: Peer) -> None:
        """Count nothing."""


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _read(text: str) -> Address | None:
    """Read an address; None: it is none. An IPv4 address in IPv6's clothes is an IPv4 address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address  # noqa: PLR2004


def _without_port(text: str) -> str:
    """Take off what some proxies put behind an address: `192.0.2.1:443`, `[2001:db8::1]:443`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
