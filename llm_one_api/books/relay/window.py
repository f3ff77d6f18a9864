"""Sends batches and waits for their acks: a bounded number at a time, each again and again until it is acked."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from llm_one_api.books.relay.batches import Batch

log = structlog.get_logger(__name__)

Publish = Callable[[str, list[str], float], None]
"""Send a batch's id and lines; the message may be thrown away after so many seconds. Bounded in time; may raise."""

TakeAcks = Callable[[], list[str]]
"""Take the ids of batches that stand in the ledger. Bounded in time; may raise."""

CountWaiting = Callable[[], int]
"""Count the messages in the queue that no worker has taken, of whatever relay. Bounded in time; may raise."""

_MOST_AHEAD = 4
_FULL_SECONDS = 0.2


@dataclass(slots=True)
class Link:
    """Knows whether something is away, says so once, and asks for it less and less often."""

    name: str
    away_since: float | None = None
    first_wait: float = 0.1
    longest_wait: float = 5.0
    away: bool = False
    ask_at: float = 0.0
    wait: float = 0.0

    def failed(self, error: Exception, now: float) -> None:
        """Take note of a failure."""
        if not self.away:
            log.warning("relay.away", what=self.name, error=type(error).__name__)  # its text may hold a password
            self.away_since = now
        self.wait = min(self.wait * 2, self.longest_wait) if self.away else self.first_wait
        self.away, self.ask_at = True, now + self.wait

    def worked(self) -> bool:
        """Take note of a success; True: it had been away."""
        was_away, self.away, self.away_since = self.away, False, None
        if was_away:
            log.info("relay.back", what=self.name)
        return was_away


@dataclass(slots=True, eq=False)
class Sent:
    """A batch under way."""

    batch: Batch
    again_at: float
    wait: float
    times: int = 0


class Window:
    """At most *limit* unacked batches; what is beyond waits as places in the journal, not as lines.

    Nor is anything sent, be it for the first time or again, while *limit* messages wait in the queue. There a copy that
    has expired still takes its place until a worker throws it away, and copies that another relay sent, such as the
    one that was killed before this one, are there too: while no worker works, it is the queue that must not grow.
    """

    def __init__(
        self,
        publish: Publish,
        take_acks: TakeAcks,
        *,
        count_waiting: CountWaiting = lambda: 0,
        limit: int = 64,
        resend_min: float = 5.0,
        resend_max: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Send by *publish*, again after *resend_min* seconds without an ack, then half as often each time."""
        self._publish = publish
        self._take_acks = take_acks
        self._count_waiting = count_waiting
        self._limit = limit
        self._resend_min = resend_min
        self._resend_max = resend_max
        self._clock = clock
        self._planned: deque[Batch] = deque()
        self._sent: dict[str, Sent] = {}
        self.broker = Link("broker")
        self.acks = Link("acks")
        self.sent = self.acked = 0
        """Records; those of a batch count as sent once."""
        self.resent = 0
        """Batches sent again."""
        self._acked_at = clock()
        self._full_until = 0.0

    def plan(self, batch: Batch) -> None:
        """Take a batch, to be sent in its turn."""
        self._planned.append(batch)

    def has_room(self) -> bool:
        """Tell whether a batch planned now would be sent at once."""
        ahead = len(self._planned)
        return ahead < _MOST_AHEAD and ahead + len(self._sent) < self._limit and not self.broker.away

    @property
    def unacked(self) -> int:
        """Count the batches that are under way."""
        return len(self._sent)

    @property
    def planned(self) -> int:
        """Count the batches that wait for those under way."""
        return len(self._planned)

    @property
    def batches(self) -> list[Batch]:
        """Give all that are not acked."""
        return [*(sent.batch for sent in self._sent.values()), *self._planned]

    @property
    def oldest(self) -> float:
        """Tell when the first call ended whose record is not acked; infinity: there is none."""
        return min((batch.oldest for batch in self.batches), default=math.inf)

    @property
    def is_empty(self) -> bool:
        """Tell whether all that was planned is acked."""
        return not self._sent and not self._planned

    def turn(self) -> bool:
        """Take acks, send again what is due, send what is new while there is room; True: an ack came."""
        acked = self._collect()
        self._send_again()
        while self._planned and len(self._sent) < self._limit and self._may_send():
            batch = self._planned.popleft()
            self._sent[batch.id] = sent = Sent(batch, self._clock(), self._resend_min)
            self._send(sent)
        return acked

    def _collect(self) -> bool:
        now = self._clock()
        if not self._sent or now < self.acks.ask_at:
            return False
        try:
            ids = self._take_acks()
        except Exception as error:
            self.acks.failed(error, now)
            return False
        for batch_id in ids:
            if sent := self._sent.pop(batch_id, None):
                self.acked += sent.batch.count
                sent.batch.release()
        was_silent = bool(ids) and now - self._acked_at > 2 * self._resend_min
        if self.acks.worked() or was_silent:
            self._hasten(now)
        if ids:
            self._acked_at = now
        return bool(ids)

    def _send_again(self) -> None:
        for sent in list(self._sent.values()):
            if self._clock() >= sent.again_at and self._may_send():
                self._send(sent)

    def _may_send(self) -> bool:
        """Tell whether to send a batch now: the broker is there, or may be again, and its queue has room."""
        now = self._clock()
        if now < self._full_until or (self.broker.away and now < self.broker.ask_at):
            return False
        try:
            is_full = self._count_waiting() >= self._limit
        except Exception as error:
            self.broker.failed(error, self._clock())
            return False
        if is_full:
            self._full_until = now + _FULL_SECONDS
        return not is_full

    def _send(self, sent: Sent) -> None:
        """Send a batch. Where that fails it may have arrived all the same, so it counts as under way."""
        try:
            lines = sent.batch.lines()
        except FileNotFoundError:
            log.error("relay.batch_vanished", batch=sent.batch.id)
            del self._sent[sent.batch.id]
            sent.batch.release()
            return
        except OSError as error:
            log.error("relay.batch_unreadable", batch=sent.batch.id, error=str(error))
            sent.again_at = self._clock() + self._resend_min
            return
        try:
            self._publish(sent.batch.id, lines, sent.wait)
        except Exception as error:
            self.broker.failed(error, self._clock())
            return
        now = self._clock()
        sent.times += 1
        if sent.times == 1:
            self.sent += sent.batch.count
        else:
            self.resent += 1
        sent.again_at = now + sent.wait
        sent.wait = min(sent.wait * 2, self._resend_max)
        if self.broker.worked():
            self._hasten(now)

    def _hasten(self, now: float) -> None:
        """Wait no longer than at first for any batch: what lost them, or did not answer, works again."""
        for sent in self._sent.values():
            if sent.again_at > now + self._resend_min:
                sent.again_at, sent.wait = now + self._resend_min, self._resend_min
