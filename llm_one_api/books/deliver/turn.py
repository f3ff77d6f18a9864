"""One plugin's turn: its lease, its instance, how far it is, and what is done when it fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic

import structlog

from llm_one_api.books.deliver.owner import is_gone, me
from llm_one_api.books.deliver.pace import Pace
from llm_one_api.books.deliver.protocols import Kept, L, Ledger
from llm_one_api.plugins.interfaces import ResponseInfo
from llm_one_api.plugins.running import Running, StatsPlugins
from llm_one_api.plugins.scrub import place_of

log = structlog.get_logger()

_SIGNAL_HANDLER = "billiard.common"
"""The module of Celery's pool whose handler ends a process: when the worker stops, or its broker is lost."""


class PluginError(Exception):
    """Something that the plugin raised, not the ledger."""


class LostLeaseError(Exception):
    """Another process took over."""


def _is_told_to_end(error: BaseException) -> bool:
    """Tell whether the process was sent SIGTERM during the call: its handler raises in the plugin's frames."""
    trace = error.__traceback__ if isinstance(error, SystemExit) else None
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == _SIGNAL_HANDLER:
            return True
        trace = trace.tb_next
    return False


@dataclass
class Turn(Generic[L]):
    """The right to deliver to one plugin, and how it goes."""

    ledger: Ledger[L]
    name: str
    plugins: StatsPlugins
    pace: Pace
    clock: Callable[[], float]
    end_process: Callable[[int], object]
    lease: L = field(init=False)
    place: int = 0
    """The last record that the plugin has had."""
    records: int = 0
    set_aside: int = 0
    careful: int = 0
    """How many records are yet handed over with care."""
    in_hand: Kept | None = None
    """The record that the plugin has been given, where a failure would be the record's."""
    suspects: dict[int, int] = field(default_factory=dict)
    """Records that are set aside if they are refused once more, with how often they were."""

    def __post_init__(self) -> None:
        self._end = self.clock() + self.pace.run_for

    @property
    def is_over(self) -> bool:
        """Whether another plugin should get a turn."""
        return self.clock() >= self._end

    @property
    def is_in_doubt(self) -> bool:
        """Whether it has to be found out if the next record is at fault, or the plugin."""
        return self.lease.refusals + self.lease.deaths >= self.pace.tries > self.lease.deaths

    @contextmanager
    def held(self, *, at_once: bool = False) -> Iterator[bool]:
        """Hold the lease for a block, if it is to be had; *at_once*: also of a plugin that is to be left alone."""
        if not self._take(at_once=at_once):
            yield False
            return
        try:
            with self.plugins.watching(self._hung):
                try:
                    yield True
                except PluginError:
                    self.plugins.drop(self.name)
                    raise
        except PluginError as error:
            self._put_off(str(error))
            raise
        except LostLeaseError:
            raise
        except BaseException:
            with suppress(Exception):  # if this fails too, the lease runs out by itself
                self.ledger.cursors.release(self.lease, self.place)
            raise
        if not self.ledger.cursors.release(self.lease, self.place):
            raise LostLeaseError

    def plugin(self) -> Running:
        """Give the plugin's instance."""
        return self.call(self.plugins.get, self.name)  # type: ignore[no-any-return]

    def fresh(self) -> Running:
        """Give a fresh one: what failed in the old one may have broken it."""
        self.in_hand = None
        self.keep_place()  # to end one instance and make another may take as long as a record
        self.plugins.drop(self.name)
        return self.plugin()

    def info(self, one: Kept) -> ResponseInfo:
        """Present a record as plugins see it."""
        return ResponseInfo.of(one.record, self.plugins.context.zone)

    def call(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call what is the plugin's, so that its errors can be told from ours."""
        process = os.getpid()
        try:
            return call(*arguments)
        except BaseException as error:  # also SystemExit, KeyboardInterrupt, and asyncio's and trio's Cancelled
            if _is_told_to_end(error):
                raise
            where = place_of(error)
            text = self.plugins.tell(self.name, error)
            raise PluginError(f"{text} ({where})" if where else text) from None
        finally:
            if os.getpid() != process:  # it has forked: its copy of us would deliver, and take tasks, as if it were us
                os._exit(os.EX_SOFTWARE)

    def keep_place(self, in_hand: Kept | None = None) -> None:
        """Bring the cursor to where we are, and note which record comes next, if that is to be known.

        It never goes back, though an exact plugin may.
        """
        cursors, given = self.ledger.cursors, None if in_hand is None else in_hand.seq
        if self.place > self.lease.seq:
            lease = cursors.advance(self.lease, self.place, given)
        else:
            lease = cursors.renew(self.lease, given)
        self.go_on_with(lease)

    def give_up(self, one: Kept, reason: str, tries: int) -> None:
        """Set *one* aside, and move the cursor over it."""
        self.go_on_with(self.ledger.dead_letters.set_aside(self.lease, one, reason, tries))
        self.set_aside += 1
        log.error(
            "plugin.record_set_aside", plugin=self.name, request_id=one.record.request_id, seq=one.seq,
            tries=tries, reason=reason,
        )  # fmt: skip

    def give_up_the_deadly(self, one: Kept) -> bool:
        """Set *one* aside if processes ended with it in hand again and again."""
        deaths = self.lease.deaths
        if deaths < self.pace.tries:
            return False
        self.give_up(one, f"its process ended {deaths} times while it had this record in hand", deaths)
        return True

    def _take(self, *, at_once: bool) -> bool:
        cursors = self.ledger.cursors
        lease = cursors.lease(self.name, me(), self.pace.lease, gone=is_gone, at_once=at_once)
        if lease is None:
            return False
        if lease.died is not None:
            log.warning(
                "delivery.process_ended", plugin=self.name, error=lease.died,
                after_seq=lease.seq, failures=lease.failures,
            )  # fmt: skip
            if lease.failures > 1 and not at_once:  # the first time it may have been anything
                cursors.defer(lease, self.pace.retry_in(lease.failures))
                return False
        if lease.failures:
            self.plugins.drop(self.name)
        self.lease, self.place = lease, lease.seq
        self.careful = max(self.pace.chunk, 1 + self.pace.look_ahead) if lease.failures else 0
        self.in_hand, self.suspects = None, {}
        return True

    def go_on_with(self, lease: L | None) -> None:
        """Hold *lease* from now on; None: it was lost."""
        if lease is None:
            raise LostLeaseError
        self.lease = lease

    def _put_off(self, error: str) -> None:
        """Say that the plugin failed and put off the next try, longer each time."""
        failures = self.lease.failures + 1
        retry_in = self.pace.retry_in(failures)
        log.error(
            "plugin.failed", plugin=self.name, error=error,
            after_seq=self.place, failures=failures, retry_in=retry_in,
        )  # fmt: skip
        self.ledger.cursors.fail(self.lease, error, retry_in, refused=self.in_hand is not None)

    def _hung(self, error: str) -> None:
        """Put the plugin off, or set its record aside, and end the process that it holds. Called in another thread."""
        try:
            with suppress(LostLeaseError):
                self.keep_place()
                one = self.in_hand
                if one is not None and one.seq in self.suspects:
                    self.give_up(one, error, self.suspects[one.seq] + 1)
                    self.ledger.cursors.release(self.lease)
                    return
            self._put_off(error)
        finally:
            self.end_process(os.EX_SOFTWARE)
