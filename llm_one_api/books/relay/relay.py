"""One turn of the relay after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from llm_one_api.books.relay.batches import Batch, Cutter, Lines, unpriced
from llm_one_api.books.relay.follower import Follower
from llm_one_api.books.relay.freeing import Freeing
from llm_one_api.books.relay.settling import Settling, Store
from llm_one_api.books.relay.telling import Telling
from llm_one_api.books.relay.window import CountWaiting, Publish, TakeAcks, Window
from llm_one_api.limits.charging import Price

POLL_SECONDS = 0.05


class RelayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of `relay:`, and what of `journal:` concerns it."""

    batch_records: int = 1000
    batch_ms: int = 100
    window: int = 64
    resend_min: float = 5.0
    resend_max: float = 300.0
    keep_acked_hours: float = 24.0
    keep_acked_bytes: int = 1 << 30


class Relay:
    """Carries one journal folder's records to where they are acked. Holds no lock: `take_relay_lock` comes first."""

    def __init__(
        self,
        folder: Path,
        *,
        publish: Publish,
        take_acks: TakeAcks,
        count_waiting: CountWaiting = lambda: 0,
        price: Price = unpriced,
        limits: Store | None = None,
        hint_quota_check: Callable[[], None] = lambda: None,
        options: RelayOptions = RelayOptions(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Send by *publish*, which must give up by itself in bounded time, as must *take_acks* and *count_waiting*.

        *price* puts its cost on each record; where it raises, the record goes without. Calls are charged to their
        quotas in *limits*, if there is one.
        """
        self._clock = clock
        self.window = Window(
            publish,
            take_acks,
            count_waiting=count_waiting,
            limit=options.window,
            resend_min=options.resend_min,
            resend_max=options.resend_max,
            clock=clock,
        )
        lines = Lines(price, clock=clock)
        self.settling: Settling | None = None
        if limits is not None:
            self.settling = Settling(limits, lines.priced, self._unacked, hint=hint_quota_check, clock=clock)
        self._cutter = Cutter(
            self.window.plan,
            self.window.has_room,
            lines,
            self.settling,
            records=options.batch_records,
            seconds=options.batch_ms / 1000,
            clock=clock,
        )
        self._freeing = Freeing(
            folder, keep_hours=options.keep_acked_hours, keep_bytes=options.keep_acked_bytes, clock=clock
        )
        self._telling = Telling(folder, clock=clock)
        self.follower = Follower(folder, self._cutter, clock=clock)

    def turn(self, *, urgent: bool = False) -> bool:
        """Do what there is to do now; True: there is more already. *urgent*: let no batch wait to grow."""
        more = self.follower.follow(urgent=urgent)
        if self.settling:
            more |= self.settling.turn()
        self._cutter.cut_due(now=self._clock(), urgent=urgent and not more)
        acked = self.window.turn()
        self._tell()
        for segment in self._freeing.free(self.follower):
            self._telling.forget(segment)
            if self.settling:
                self.settling.freed(segment)
        self._freeing.prune()
        return more or acked

    def run(self, wait: Callable[[float], bool], *, drain: Callable[[float], bool], drain_seconds: float) -> None:
        """Go on until *wait* (for so many seconds, or less) says to stop, then send and await acks while time is left.

        *drain* waits likewise and tells whether to give up at once.
        """
        while not wait(0.0 if self.turn() else POLL_SECONDS):
            pass
        deadline = self._clock() + drain_seconds
        more = True
        while self._clock() < deadline and not drain(0.0 if more else POLL_SECONDS):
            more = self.turn(urgent=True)
            if self.window.is_empty and not more:
                break
        self._tell(now=True)

    def _unacked(self) -> list[Batch]:
        return [*self.window.batches, *self._cutter.growing]

    def _tell(self, *, now: bool = False) -> None:
        self._telling.tell(self.follower, self._cutter, self.window, self._freeing, self.settling, now=now)
