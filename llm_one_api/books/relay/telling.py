"""Tells how the relay fares (`stores/journal/status.py`), about once a second and before anything is forgotten."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from llm_one_api.books.relay.batches import Cutter
from llm_one_api.books.relay.follower import Follower, Segment
from llm_one_api.books.relay.freeing import Freeing
from llm_one_api.books.relay.settling import Settling
from llm_one_api.books.relay.window import Link, Window
from llm_one_api.stores.journal.segments import measure
from llm_one_api.stores.journal.status import NONE, Figures, RelayStatus, read, write

log = structlog.get_logger(__name__)

TELL_SECONDS = 1.0


class Telling:
    """Goes on where the relay before this one ended.

    What was met in a segment is counted by segment, until that has left the folder: a relay that starts anew reads it
    again, and must not count it twice.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Read what was told last."""
        self._folder = folder
        self._clock = clock
        self._wall = wall
        self._started_at = _moment(wall())
        self._tell_at = 0.0
        self._noted = 0
        self._failed = False
        before = read(folder)
        self._before = before
        self._gone = before.gone if before else NONE
        self._met: dict[str, Figures] = {}
        """By segment, as the last relay told it."""
        for name, figures in (before.there if before else {}).items():
            if (folder / name).exists():
                self._met[name] = figures
            else:
                self._gone += figures

    def tell(
        self,
        follower: Follower,
        cutter: Cutter,
        window: Window,
        freeing: Freeing,
        settling: Settling | None = None,
        *,
        now: bool = False,
    ) -> None:
        """Tell it, if a second has passed or if there is something that would be forgotten with us."""
        clock = self._clock()
        has_news = follower.noted != self._noted and not self._failed
        if not now and not has_news and clock < self._tell_at:
            return
        self._tell_at = clock + TELL_SECONDS
        self._noted = follower.noted
        try:
            write(self._folder, self._status(follower, cutter, window, freeing, settling))
        except OSError as error:  # a full disk does not keep the relay from its work
            if not self._failed:
                log.warning("relay.cannot_tell", error=str(error))
            self._failed = True
        else:
            self._failed = False

    def forget(self, segment: Segment) -> None:
        """Take what was met in *segment*, which has left the folder, into the sum."""
        self._gone += segment.figures | self._met.pop(str(segment.name), NONE)

    def _status(
        self, follower: Follower, cutter: Cutter, window: Window, freeing: Freeing, settling: Settling | None
    ) -> RelayStatus:
        now, before = self._wall(), self._before
        # What cannot be read is late too, by so much at least.
        unread = now - (self._clock() - follower.unread_since)
        oldest = min(window.oldest, cutter.oldest, unread)
        has_some = oldest < float("inf")
        there = dict(self._met)
        for writer in follower.writers.values():
            for segment in writer.segments:
                name, figures = str(segment.name), segment.figures
                if figures != NONE:
                    there[name] = figures | there.get(name, NONE)
        pruned = [before.pruned_until] if before and before.pruned_until else []
        pruned += [_moment(freeing.pruned_until)] if freeing.pruned_until else []
        lost_at = [at for at in (before and before.lost_at, follower.lost_at) if at]
        return RelayStatus(
            at=_moment(now),
            pid=os.getpid(),
            started_at=self._started_at,
            lag=round(max(0.0, now - oldest), 3) if has_some else 0.0,
            oldest_unacked=_moment(oldest) if has_some else None,
            unacked_batches=window.unacked,
            planned_batches=window.planned,
            journal_bytes=measure(self._folder).bytes,
            acked_bytes=freeing.acked_bytes,
            broker_away_since=self._away_since(window.broker, now),
            acks_away_since=self._away_since(window.acks, now),
            sent=window.sent + (before.sent if before else 0),
            acked=window.acked + (before.acked if before else 0),
            resent=window.resent + (before.resent if before else 0),
            lost_at=max(lost_at, default=None),
            pruned_until=max(pruned, default=None),
            gone=self._gone,
            there=there,
            unsettled=settling.unsettled if settling else 0,
            limits_away_since=self._away_since(settling.link, now) if settling else None,
            unacked_records=sum(batch.count for batch in (*window.batches, *cutter.growing)),
        )

    def _away_since(self, link: Link, now: float) -> datetime | None:
        return None if link.away_since is None else _moment(now - (self._clock() - link.away_since))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
