"""Whether one upstream can take calls. No I/O: what was seen goes in, and the time is an argument.

    healthy ── max_failures one after the other, or half of a minute's calls ──▶ ejected ── cooldown over ──▶ trial
       ▲  ▲                                                                         ▲                         │   │
       │  └────────────── one call that was answered ──────────────────────────────│─────────────────────────┘   │
       │                                                                            └── failed: twice as long ────┘
       └── retry-after over ── paused ◀── a 429, which is no ill health

All processes share the `Condition`; of what led to it each has its own part, and knows the sum of the others'.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from llm_one_api.values import Value

State = Literal["healthy", "paused", "ejected"]
Standing = Literal["healthy", "trial", "paused", "ejected"]

WINDOW = 60.0
"""Seconds over which the share of failures is looked at."""
_SLOT = 10.0
FEWEST = 20
"""Calls in that time, of all processes, below which their share of failures says nothing."""
MOST_FAILED = 0.5
"""The share of them that may fail."""
LONGEST_REST = 8
"""Cooldowns that an upstream rests at most, whose trials go on failing."""
LONGEST_PAUSE = 3600.0
"""Seconds: an upstream that says to come back in a week is asked again sooner."""
PROBE_FAILED = "probe_failed"
UNREACHABLE = frozenset(
    {
        "upstream_unreachable", "upstream_timeout_connect", "upstream_tls", "upstream_proxy", "upstream_closed",
        PROBE_FAILED,
    }
)  # fmt: skip
"""Why it rests, where a probe that reaches it shows that it may be tried again."""


class Condition(Value, frozen=True, kw_only=True):
    """What is known of an upstream, the same in all processes: what was found last counts. Times are `time.time()`."""

    state: State = "healthy"
    why: str = ""
    """A code, such as `upstream_unreachable`, `http_500`, `error_rate` or `http_429`."""
    until: float = 0.0
    """When it may be asked again."""
    since: float = 0.0
    """When this was found."""
    rests: int = 0
    """Cooldowns without a call that was answered between them."""


WELL = Condition()


class Others(Value, frozen=True, kw_only=True):
    """What the other processes have seen, added up."""

    in_flight: int = 0
    streak: int = 0
    requests: int = 0
    failures: int = 0
    processes: int = 1
    """How many were added up, and this one."""


NOBODY = Others()


class Health:
    """What this process knows of one upstream. The methods tell whether the condition has changed."""

    __slots__ = (
        "_clock", "_probes_failed", "_slots", "_trial_out", "condition", "cooldown", "kept", "last_answered",
        "last_failed", "max_failures", "others", "streak",
    )  # fmt: skip

    def __init__(self, *, max_failures: int, cooldown: float, clock: Callable[[], float] = time.time) -> None:
        """Take it for healthy. *cooldown* is in seconds."""
        self.max_failures = max_failures
        self.cooldown = cooldown
        self._clock = clock
        self.condition = WELL
        self.others = NOBODY
        self.streak = 0
        """Failures since the last call that was answered, of this process."""
        self.last_answered = 0.0
        self.last_failed = 0.0
        """`time.time()` of this process's calls; 0: there was none. A streak counts until somebody was answered."""
        self.kept = False
        """Whether it would rest, were it not the last one."""
        self._probes_failed = 0
        self._trial_out = False
        self._slots: deque[list[float]] = deque()
        """Of the window: when a slot began, its requests, its failures."""

    # -- looking --

    def standing(self) -> Standing:
        """Tell whether it may be asked. `trial`: one call at a time may try, as long as no other does."""
        condition = self.condition
        if condition is WELL or condition.state == "healthy":
            return "healthy"
        if self._clock() < condition.until:
            return condition.state
        if condition.state == "paused":
            return "healthy"
        return "trial"

    @property
    def rests_for_slowness(self) -> bool:
        """Whether it rests because it kept calls waiting: to ask it all the same may take as long again."""
        why = self.condition.why
        return why.startswith("upstream_timeout_") and why not in UNREACHABLE

    @property
    def may_be_tried(self) -> bool:
        """Whether no trial is under way."""
        return not self._trial_out

    def seen(self) -> tuple[int, int]:
        """Count this process's requests and failures of the last minute."""
        self._forget()
        return int(sum(slot[1] for slot in self._slots)), int(sum(slot[2] for slot in self._slots))

    # -- what happens --

    def begin_trial(self) -> None:
        """Let a call begin that is to show whether it is well again."""
        self._trial_out = True

    def end_trial(self) -> None:
        """Note that that call is over, whatever came of it."""
        self._trial_out = False

    def answered(self, *, fresh: bool) -> bool:
        """Note that it answered a call; *fresh*: one that began since its condition was found."""
        self.last_answered = now = self._clock()
        self.streak = 0
        self._probes_failed = 0
        self.kept = False
        self._count(now, 0)
        if self.condition.state == "healthy" or not fresh:
            return False
        return self._become(WELL)

    def failed(self, why: str, *, trial: bool, fresh: bool, may_rest: bool, answered_after: int | None = None) -> bool:
        """Note that it failed a call.

        *trial*: one that was to show whether it is well; *may_rest*: others can take its calls;
        *answered_after*: a call that it began to answer, after so many failures in a row: that was no answer after all.
        """
        self.last_failed = now = self._clock()
        self.streak = max(self.streak, answered_after or 0) + 1
        self._count(now, 1, requests=1 if answered_after is None else 0)
        if self.condition.state == "ejected":
            return trial and fresh and self._rest(why)
        return self._maybe_rest(why, may_rest=may_rest)

    def limited(self, seconds: float, why: str = "http_429") -> bool:
        """Note that it said to come back in so many *seconds*: that is no failure."""
        now = self._clock()
        until = now + min(seconds, LONGEST_PAUSE)
        condition = self.condition
        if condition.state == "paused" and until < condition.until + 0.5:
            return False  # as good as known
        if condition.state == "ejected" and now < condition.until:
            return False
        return self._become(Condition(state="paused", why=why, until=until))

    def probed(self, error: str | None, *, may_rest: bool) -> bool:
        """Note that a probe reached it, or not: *error* is a code."""
        condition = self.condition
        now = self._clock()
        if error is None:
            self._probes_failed = 0
            if condition.state != "ejected" or condition.why not in UNREACHABLE or now >= condition.until:
                return False
            return self._become(Condition(state="ejected", why=condition.why, until=now, rests=condition.rests))
        if condition.state == "ejected":  # so that no call has to find out
            until = now + self.cooldown
            return self._become(
                Condition(state="ejected", why=condition.why, until=max(until, condition.until), rests=condition.rests)
            )
        self._probes_failed += 1
        return self._maybe_rest(PROBE_FAILED, may_rest=may_rest)

    def begin_anew(self) -> None:
        """Forget all, in all processes: under this name there is another place now."""
        self._become(WELL)
        self.streak = self._probes_failed = 0
        self._slots.clear()

    def adopt(self, condition: Condition) -> None:
        """Take over what another process has found, if it is newer."""
        if condition.since > self.condition.since:
            self._take(condition)

    # -- how --

    def _maybe_rest(self, why: str, *, may_rest: bool) -> bool:
        others = self.others
        if self.streak + others.streak + self._probes_failed < self.max_failures:
            requests, failures = self.seen()
            requests, failures = requests + others.requests, failures + others.failures
            if requests < FEWEST or failures < requests * MOST_FAILED:
                return False
            why = "error_rate"
        self.kept = not may_rest
        return may_rest and self._rest(why)

    def _rest(self, why: str) -> bool:
        before = self.condition
        rests = before.rests + 1 if before.state == "ejected" else 1
        seconds = self.cooldown * min(2 ** (rests - 1), LONGEST_REST)
        return self._become(Condition(state="ejected", why=why, until=self._clock() + seconds, rests=rests))

    def _become(self, condition: Condition) -> bool:
        now = max(self._clock(), self.condition.since + 1e-6)  # what is found later counts, whatever the clock does
        self._take(
            Condition(state=condition.state, why=condition.why, until=condition.until, since=now, rests=condition.rests)
        )
        return True

    def _take(self, condition: Condition) -> None:
        if self.condition.state == "ejected" and condition.state != "ejected":
            self.streak = self._probes_failed = 0
            self._slots.clear()
        self.kept = False
        self.condition = condition

    def _count(self, now: float, failures: int, requests: int = 1) -> None:
        slots = self._slots
        if not slots or now - slots[-1][0] >= _SLOT:
            slots.append([now, 0, 0])
            self._forget()
        slot = slots[-1]
        slot[1] += requests
        slot[2] += failures

    def _forget(self) -> None:
        oldest = self._clock() - WINDOW
        while self._slots and self._slots[0][0] <= oldest:
            self._slots.popleft()
