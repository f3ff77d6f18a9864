"""Hands the ledger's records to one stats plugin, in their order, from where it stopped last time.

One delivery a plugin at a time: the lease on its cursor sees to that, in all processes. The cursor moves after each
chunk, so a crash repeats at most a chunk; an `ExactStatsPlugin` keeps its own place and repeats nothing. What a plugin
raises is told with its name, ends this delivery with the records before it counted as delivered, and puts off the next
one; another plugin does not notice. A plugin that hangs where Python cannot end it (in C, waiting for its server) costs
this process, which would else be missing for the others.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

import structlog

from llm_one_api.plugins.interfaces import ResponseInfo
from llm_one_api.plugins.running import Running, StatsPlugins
from llm_one_api.plugins.scrub import place_of
from llm_one_api.values import UsageRecord, Value

log = structlog.get_logger()


class Lease(Protocol):
    """The right to deliver to one plugin, and where to go on."""

    @property
    def seq(self) -> int:
        """The last record delivered."""

    @property
    def since(self) -> int:
        """The record after which the present run began."""

    @property
    def failures(self) -> int:
        """How often it failed since it last got on."""


class Kept(Protocol):
    """A record with its place in the ledger."""

    @property
    def seq(self) -> int:
        """Its place."""

    @property
    def record(self) -> UsageRecord:
        """The record."""


L = TypeVar("L", bound=Lease)


class Cursors(Protocol[L]):
    """What a delivery needs of the plugins' cursors."""

    def lease(self, consumer: str, owner: str, seconds: float) -> L | None:
        """Take the lease; None: another has it, or the plugin is to be left alone for now."""

    def advance(self, lease: L, seq: int) -> L | None:
        """Move to *seq* and renew; None: the lease was lost."""

    def renew(self, lease: L) -> L | None:
        """Renew; None: the lease was lost."""

    def release(self, lease: L, seq: int | None = None) -> bool:
        """Give it back, having moved to *seq* if that is progress; False: it was lost."""

    def fail(self, lease: L, error: str, retry_in: float) -> None:
        """Give it back and let nobody have it for *retry_in* seconds."""


class Ledger(Protocol[L]):
    """What a delivery needs of the ledger."""

    @property
    def cursors(self) -> Cursors[L]:
        """The plugins' places."""

    def read(self, after: int, limit: int) -> Sequence[Kept]:
        """Give the next records."""

    def last_seq(self) -> int:
        """Tell the place of the newest record."""


class Pace(Value, frozen=True, kw_only=True):
    """How deliveries are made. Times are in seconds."""

    lease: float = 60.0
    retry_min: float = 1.0
    retry_max: float = 300.0
    chunk: int = 200
    """Records between two moves of the cursor, at most."""
    chunk_seconds: float = 1.0
    """Time between two moves of the cursor, but for one long call."""
    run_for: float = 60.0
    """A delivery that has more to do ends after this time, so that other plugins get a turn in the same process."""


class Delivered(Value, frozen=True, kw_only=True):
    """What came of a delivery."""

    records: int = 0
    more: bool = False
    """The time was over before it had caught up: deliver again at once."""
    error: str | None = None
    """What the plugin raised, without its secrets."""


class _PluginError(Exception):
    """Something that the plugin raised, not the ledger."""


class _LostLeaseError(Exception):
    """Another process took over."""


def deliver(
    ledger: Ledger[L],
    name: str,
    plugins: StatsPlugins,
    pace: Pace = Pace(),  # noqa: B008  # frozen
    *,
    clock: Callable[[], float] = time.monotonic,
    end_process: Callable[[int], object] = os._exit,
) -> Delivered:
    """Hand plugin *name* what it has not had yet, until it has caught up.

    Raises only what the ledger raises. Where the plugin hangs for good, the process ends by *end_process*.
    """
    delivery = _Delivery(ledger, name, plugins, pace, clock, end_process)
    more, newest = False, 0
    try:
        while not more:
            with delivery.leased() as leased:
                if not leased:
                    break  # whoever has the lease looks once more after giving it back
                more = not delivery.run()
            # A record may be there that was committed after the last look, but whose hint found us still holding the
            # lease. One that was there before that look and did not come is gone from the ledger.
            before, newest = newest, ledger.last_seq()
            if newest <= max(delivery.place, before):
                break
    except _LostLeaseError:
        log.warning("delivery.lease_lost", plugin=name)
    except _PluginError as error:
        return Delivered(records=delivery.records, error=str(error))
    return Delivered(records=delivery.records, more=more)


@dataclass
class _Delivery(Generic[L]):
    """One delivery under way."""

    _ledger: Ledger[L]
    _name: str
    _plugins: StatsPlugins
    _pace: Pace
    _clock: Callable[[], float]
    _end_process: Callable[[int], object]
    lease: L = field(init=False)
    records: int = 0
    place: int = 0

    def __post_init__(self) -> None:
        self._end = self._clock() + self._pace.run_for

    @contextmanager
    def leased(self) -> Iterator[bool]:
        """Hold the lease for a block, if it is to be had."""
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        lease = self._ledger.cursors.lease(self._name, owner, self._pace.lease)
        if lease is None:
            yield False
            return
        self.lease, self._failures = lease, lease.failures
        try:
            with self._plugins.watching(self._hung):
                try:
                    yield True
                except _PluginError:
                    self._plugins.drop(self._name)
                    raise
        except _PluginError as error:
            self._put_off(str(error))
            raise
        except _LostLeaseError:
            raise
        except BaseException:
            with suppress(Exception):  # if this fails too, the lease runs out by itself
                self._ledger.cursors.release(self.lease)
            raise
        if not self._ledger.cursors.release(self.lease, self.place):
            raise _LostLeaseError

    def run(self) -> bool:
        """Deliver until there is nothing more (True) or the time is over (False)."""
        plugin = self._call(lambda: self._plugins.get(self._name))
        caught_up = self._exact(plugin) if plugin.exact is not None else self._plain(plugin)
        if self._failures and self.records:
            log.info("plugin.recovered", plugin=self._name, failures=self._failures)
        return caught_up

    def _plain(self, plugin: Running) -> bool:
        """Hand over record by record; the cursor follows."""
        self.place = self.lease.seq
        moved = self._clock()
        while kept := self._ledger.read(self.place, self._pace.chunk):
            for one in kept:
                info = ResponseInfo.of(one.record, self._plugins.context.zone)
                try:
                    self._call(plugin.record, info)
                except _PluginError:
                    self._plugins.drop(self._name)
                    # What it has had it shall not get again.
                    self._advance()
                    raise
                self.place = one.seq
                self.records += 1
                if self._clock() - moved >= self._pace.chunk_seconds:
                    self._advance()
                    moved = self._clock()
                    if moved >= self._end:
                        return False
            if len(kept) < self._pace.chunk:
                return True
            self._advance()
            moved = self._clock()
            if moved >= self._end:
                return False
        return True

    def _exact(self, plugin: Running) -> bool:
        """Hand over chunk by chunk; the plugin has its own place, the cursor only shows it."""
        self.place = self._call(plugin.position, self.lease.since)
        if self.place > self._ledger.last_seq():
            # It counted in another ledger: without this it would wait until this one had grown as long.
            log.warning("plugin.place_unknown", plugin=self._name, place=self.place, going_back_to=self.lease.since)
            self._call(plugin.record_batch, self.place, self.lease.since, [])
            self.place = self._call(plugin.position, self.lease.since)
        while kept := self._ledger.read(self.place, self._pace.chunk):
            infos = [ResponseInfo.of(one.record, self._plugins.context.zone) for one in kept]
            if self._call(plugin.record_batch, self.place, kept[-1].seq, infos):
                self.place = kept[-1].seq
                self.records += len(kept)
                if len(kept) < self._pace.chunk:
                    return True
            else:
                before, self.place = self.place, self._call(plugin.position, self.lease.since)
                if self.place == before:
                    raise _PluginError("record_batch did not return True, and position is what it was")
            self._advance()
            if self._clock() >= self._end:
                return False
        return True

    def _advance(self) -> None:
        """Bring the cursor to where we are; it never goes back, though an exact plugin may."""
        cursors = self._ledger.cursors
        lease = cursors.advance(self.lease, self.place) if self.place > self.lease.seq else cursors.renew(self.lease)
        if lease is None:
            raise _LostLeaseError
        self.lease = lease

    def _call(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call what is the plugin's, so that its errors can be told from ours."""
        try:
            return call(*arguments)
        except BaseException as error:  # also SystemExit, KeyboardInterrupt, and asyncio's and trio's Cancelled
            where = place_of(error)
            text = self._plugins.tell(self._name, error)
            raise _PluginError(f"{text} ({where})" if where else text) from None

    def _put_off(self, error: str) -> None:
        """Say that the plugin failed and put off the next try, longer each time."""
        pace, failures = self._pace, self.lease.failures
        retry_in = min(pace.retry_max, pace.retry_min * 2 ** min(failures, 30))
        log.error(
            "plugin.failed", plugin=self._name, error=error,
            after_seq=self.place, failures=failures + 1, retry_in=retry_in,
        )  # fmt: skip
        self._ledger.cursors.fail(self.lease, error, retry_in)

    def _hung(self, error: str) -> None:
        """Put the plugin off, and end the process that it holds. Called from another thread."""
        try:
            with suppress(_LostLeaseError):
                self._advance()
            self._put_off(error)
        finally:
            self._end_process(os.EX_SOFTWARE)
