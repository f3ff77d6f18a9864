"""When upstreams are probed, and by whom: an ill one is to be found before a call finds it, and one that is back soon.

Probes (`probe.py` makes them) are on no record and count as nobody's calls.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gevent
import structlog
from gevent.pool import Pool as Greenlets

from llm_one_api.gateway.pool import Pools
from llm_one_api.gateway.upstreams.health import UNREACHABLE, Health
from llm_one_api.gateway.upstreams.probe import ask
from llm_one_api.targets import Target, Upstream

log = structlog.get_logger()

LONGEST = 10.0
"""Seconds that a probe takes at most, or the upstream's `connect_timeout` if that is less."""
AT_ONCE = 32
"""Probes under way at a time, in one process."""
SOON = 3.0
"""Seconds within which the first probes are made: an upstream may be ill from the beginning."""
AGAIN = 2.0
"""Seconds after which a probe that failed is made again, for it takes several to let an upstream rest; and from one
look whether an upstream that could not be reached is back to the next."""
CLAIM = 0.9
"""The part of an interval for which the process that probes keeps the others from it."""
UNSERVED_SECONDS = 3600.0
"""How long it is remembered that an upstream has no list of models."""
TICK = 0.5
LOOK_EVERY = 5.0
"""Seconds from one look at who there is to the next."""


class Probed(Protocol):
    """An upstream of a model, as far as it is probed (`gateway/upstreams/members.py`)."""

    @property
    def key(self) -> str:
        """Give its name among processes."""

    @property
    def target(self) -> Target:
        """Give what it is."""

    @property
    def interval(self) -> float | None:
        """Give the seconds from one probe to the next; None: it is not probed."""

    @property
    def health(self) -> Health:
        """Give what is known of it."""

    def probed(self, error: str | None) -> None:
        """Take note of a probe's result: an error's code, or None."""


class MayBeProbed(Protocol):
    """Knows everybody who may be probed."""

    def all(self) -> Sequence[Probed]:
        """Give all upstreams of all models."""


class _Site:
    """A place that upstreams of several models may share: it is probed once for all of them."""

    def __init__(self, upstream: Upstream, due: float) -> None:
        self.upstream = upstream
        self.members: list[Probed] = []
        self.interval = 0.0
        self.due = due
        self.look_due = float("-inf")
        """When it may next be looked whether it is back."""
        self.under_way = False
        self.failed = 0
        self.unserved_until = float("-inf")

    def gather(self, members: list[Probed]) -> None:
        self.members = sorted(members, key=lambda member: member.key)
        self.upstream = self.members[0].target.upstream
        self.interval = min(member.interval or 0.0 for member in members)

    @property
    def name(self) -> str:
        """Name it among processes: they all have the same config."""
        return self.members[0].key

    @property
    def patience(self) -> float:
        return min(LONGEST, *(member.target.upstream.connect_timeout for member in self.members))

    @property
    def is_in_doubt(self) -> bool:
        """Whether it has failed, but not yet often enough to rest."""
        return 0 < self.failed < max(member.health.max_failures for member in self.members)

    @property
    def is_away(self) -> bool:
        """Whether somebody rests because it could not be reached."""
        return any(_is_away(member.health) for member in self.members)


class Probing:
    """Probes upstreams, on one hub; `start` after the fork."""

    def __init__(
        self,
        members: MayBeProbed,
        pools: Pools,
        may_probe: Callable[[str, float], bool] = lambda _key, _seconds: True,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Probe nobody yet. *may_probe* claims a place, by name and for so many seconds, for this process."""
        self._members = members
        self._pools = pools
        self._may_probe = may_probe
        self._clock = clock
        self._chance = chance
        self._sites: dict[tuple[Any, ...], _Site] = {}
        self._looked = float("-inf")
        self._greenlets = Greenlets(AT_ONCE)
        self._loop: Any = None

    def start(self) -> None:
        """Begin."""
        if self._loop is None:
            self._loop = gevent.spawn(self._run)

    def stop(self) -> None:
        """End, and give up what is under way."""
        if self._loop is not None:
            self._loop.kill()
            self._loop = None
        self._greenlets.kill()

    def tick(self) -> None:
        """Begin all probes that are due. Waits while there are too many under way."""
        now = self._clock()
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            self._look(now)
        for site in list(self._sites.values()):
            if site.under_way:
                continue
            if now >= site.due:
                site.under_way = True
                self._greenlets.spawn(self._probe, site)
            elif now >= site.look_due and site.is_away:
                site.under_way = True
                self._greenlets.spawn(self._look_for, site)

    def _run(self) -> None:
        while True:
            try:
                self.tick()
            except Exception as error:
                log.error("probing.failed", kind=type(error).__name__)
            gevent.sleep(TICK)

    def _look(self, now: float) -> None:
        """See who is to be probed. Those that take no calls are not."""
        found: dict[tuple[Any, ...], list[Probed]] = {}
        for member in self._members.all():
            if member.interval and member.target.weight:
                found.setdefault(_place(member.target.upstream), []).append(member)
        self._sites = {key: self._sites.get(key) or self._begin(key, found[key], now) for key in found}
        for key, members in found.items():
            self._sites[key].gather(members)

    def _begin(self, _: tuple[Any, ...], members: list[Probed], now: float) -> _Site:
        soonest = min(SOON, *(member.interval or SOON for member in members))
        return _Site(members[0].target.upstream, now + self._chance() * soonest)

    def _probe(self, site: _Site) -> None:
        try:
            # Who has found it failing sees it through; else its failures would be spread over all processes.
            if site.is_in_doubt or self._may_probe(site.name, site.interval * CLAIM):
                error = self._ask(site)
                site.failed = 0 if error is None else site.failed + 1
                for member in site.members:
                    member.probed(error)
            else:
                site.failed = 0
        except Exception as error:
            log.error("probing.failed", kind=type(error).__name__)
        finally:
            wait = site.interval * (0.9 + 0.2 * self._chance())
            site.due = self._clock() + (min(AGAIN, wait) if site.is_in_doubt else wait)
            site.under_way = False

    def _look_for(self, site: _Site) -> None:
        """See whether a place that could not be reached is back: one that was restarted should not rest to the end."""
        try:
            if self._may_probe(f"{site.name}\tback", AGAIN * CLAIM) and self._ask(site) is None:
                site.failed = 0
                for member in site.members:
                    if _is_away(member.health):
                        member.probed(None)
        except Exception as error:
            log.error("probing.failed", kind=type(error).__name__)
        finally:
            site.look_due = self._clock() + AGAIN * (0.9 + 0.2 * self._chance())
            site.under_way = False

    def _ask(self, site: _Site) -> str | None:
        """Probe one place; None: it is there, else a code that says what is wrong."""
        upstream = site.upstream
        pool = self._pools.of(upstream)
        # Behind a proxy for http there is no connection to the upstream itself.
        only_connects = self._clock() < site.unserved_until and (pool.origin.tls or not upstream.link.proxy)
        found = ask(pool, upstream, site.patience, only_connects=only_connects)
        if not found.lists_models:
            site.unserved_until = self._clock() + UNSERVED_SECONDS
            log.info("upstream.lists_no_models", upstream=upstream.name)
        return found.error


def _is_away(health: Health) -> bool:
    return health.standing() == "ejected" and health.condition.why in UNREACHABLE


def _place(upstream: Upstream) -> tuple[Any, ...]:
    return upstream.base_url, upstream.api_key, upstream.adapter, upstream.api_version, upstream.link
