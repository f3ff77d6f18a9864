"""One call's turn at one upstream: from when it is chosen until its answer is over."""

from __future__ import annotations

import time
from typing import Literal

from llm_one_api.gateway.upstreams.member import Member

_ERROR = 400


class Turn:
    """Tells the upstream's health and figures what became of one attempt. Each thing is told once, the first counts."""

    __slots__ = ("_asked", "_before", "_began", "_is_over", "_trial", "_ttft", "_verdict", "member")

    def __init__(self, member: Member, *, trial: bool = False) -> None:
        """Begin: from now on the upstream has one call more under way. *trial*: it is to show whether it is well."""
        self.member = member
        self._trial = trial
        self._verdict: Literal["", "answered", "failed", "none"] = ""
        self._ttft: float | None = None
        self._before: int | None = None
        """Its failures in a row when it began to answer."""
        self._asked = False
        self._is_over = False
        self._began = time.monotonic()
        member.own_in_flight += 1
        if trial:
            member.health.begin_trial()

    def asked(self) -> None:
        """Note that the upstream is called now: until then the call may still be refused."""
        self._asked = True

    def first_byte(self, status: int, now: float) -> None:
        """Note that the answer's body has begun, at *now* (`time.monotonic()`)."""
        if self._verdict or self._is_over:
            return
        self._verdict = "answered"
        member = self.member
        self._before = member.health.streak
        member.answered(fresh=self._is_fresh())
        if status < _ERROR:  # what an error took says nothing of what an answer takes
            self._ttft = now - self._began
            member.group.strategy.saw(member.name, self._ttft)

    def failed(self, why: str) -> None:
        """Note that it gave no usable answer, or broke off; *why* is a code. May be found when it is over."""
        if self._verdict not in {"", "answered"}:
            return
        self._verdict = "failed"
        member = self.member
        if self._is_over and self._asked:
            member.figures.fail()
        member.failed(why, trial=self._trial, fresh=self._is_fresh(), answered_after=self._before)

    def limited(self, seconds: float) -> None:
        """Note that it takes no calls for so many seconds."""
        if not self._verdict:
            self._verdict = "none"
            self.member.limited(seconds)

    def shrugged(self) -> None:
        """Note that its answer says nothing of its health."""
        self._verdict = self._verdict or "none"

    def over(self) -> None:
        """Note that the upstream has this call no longer."""
        if self._is_over:
            return
        self._is_over = True
        member = self.member
        member.own_in_flight -= 1
        if self._trial:
            member.health.end_trial()
        if self._asked:
            failed = self._verdict == "failed"
            seconds = time.monotonic() - self._began if self._ttft is not None and not failed else None
            member.figures.add(failed=failed, ttft=self._ttft, duration=seconds)
        if member.group.waiting:
            member.group.serve()

    def _is_fresh(self) -> bool:
        """Whether it began after what is known of the upstream was found."""
        condition = self.member.health.condition
        return not condition.since or time.time() - (time.monotonic() - self._began) >= condition.since
