"""Judges what was counted by what was done: one record a call, with its tokens, and no record without a call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from llm_one_api.gateway.estimate import PATIENCE_SECONDS
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import UsageRecord
from tests.harness.bookkeeper import KINDS, Bookkeeper, Used, kind_of, provider_id
from tests.harness.load import Answer, Load
from tests.harness.processes import wait_until

NEVER_UPSTREAM = {"rejected", "aborted"}
"""The outcomes of calls that did not get as far as the upstream."""
CUT_SHORT = {"aborted", "client_gone"}
"""The outcomes of calls whose tokens need not be all that the upstream told."""

Window = tuple[float, float]
"""A stretch of time, by `time.monotonic()`."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What everybody wrote down."""

    sent: Sequence[str]
    answers: Sequence[Answer]
    received: Mapping[str, int]
    """How often each call arrived at the upstream."""
    finished: Mapping[str, Used]
    """What the upstream told at the end of each answer that it finished."""
    seconds: Mapping[str, float]
    """How long the upstream took over each call."""
    records: Sequence[UsageRecord]
    at_kills: Collection[str] = ()
    """The calls that were under way when a process that serves calls was killed."""
    kills: Sequence[float] = ()
    """When that was."""
    away: Sequence[Window] = ()
    """When there was no gateway at all."""
    stalls: Sequence[Window] = ()
    """When a process that serves calls was stopped, and could not answer."""
    bound: float = 5.0
    """Seconds that the gateway may add to a call, while no process of its own is stopped."""


@dataclass(frozen=True)
class Verdict:
    """What came of it."""

    evidence: Evidence

    @cached_property
    def faults(self) -> list[str]:
        """Say all that is wrong."""
        return [*self._of_numbers(), *self._of_contents(), *self._of_callers()]

    @cached_property
    def outcomes(self) -> Counter[str]:
        """Count the records by outcome."""
        return Counter(record.outcome for record in self.evidence.records)

    @cached_property
    def doubled(self) -> set[str]:
        """The calls that have more than one record."""
        return {name for name, times in Counter(map(self._name, self.evidence.records)).items() if times > 1}

    @cached_property
    def lost(self) -> set[str]:
        """The calls that were upstream and have no record."""
        return self.evidence.received.keys() - self._of.keys()

    def added(self, answer: Answer) -> float:
        """Tell how many seconds of a call were not the upstream's."""
        return max(0.0, answer.seconds - self.evidence.seconds.get(answer.name, 0.0))

    @cached_property
    def _ids(self) -> dict[str, str]:
        return {answer.id: answer.name for answer in self.evidence.answers if answer.id}

    @cached_property
    def _of(self) -> dict[str, UsageRecord]:
        return {self._name(record): record for record in self.evidence.records}

    @cached_property
    def _has_quotas(self) -> bool:
        """Whether there are quotas, which are for all calls then."""
        return any(record.quota_windows for record in self.evidence.records)

    def _name(self, record: UsageRecord) -> str:
        """Tell whose record it is. A call that was refused before its body was read is known by its id alone."""
        return record.end_user or self._ids.get(record.request_id, record.request_id)

    def _of_numbers(self) -> Iterator[str]:
        it = self.evidence
        yield from _say("counted more than once", self.doubled)
        yield from _say("upstream and never counted", self.lost)
        yield from _say("sent upstream more than once", {name for name, times in it.received.items() if times > 1})
        yield from _say("counted, though nobody made such a call", self._of.keys() - set(it.sent))
        yield from _say(
            "counted as if it had been upstream",
            {n for n, record in self._of.items() if n not in it.received and record.outcome not in NEVER_UPSTREAM},
        )
        aborted = {name for name, record in self._of.items() if record.outcome == "aborted"}
        yield from _say("aborted, though its process was not killed", aborted - set(it.at_kills))
        yield from _say("rejected, though there was a gateway", {
            answer.name for answer in it.answers
            if answer.name in self._of and self._of[answer.name].outcome == "rejected" and not self._was_away(answer)
        })  # fmt: skip

    def _of_contents(self) -> Iterator[str]:
        it = self.evidence
        finished = {n: r for n, r in self._of.items() if n in it.finished and r.outcome not in CUT_SHORT}
        yield from _say("finished, and no success", {n for n, r in finished.items() if r.outcome != "success"})
        yield from _say("with other tokens", {
            f"{name} ({record.usage_source}: {record.usage.prompt_tokens}, {record.usage.completion_tokens})"
            for name, record in finished.items() if not self._has_tokens(name, record, it.finished[name])
        })  # fmt: skip
        yield from _say("charged for other tokens than they used", {
            name for name, record in finished.items()
            if record.quota_windows and record.usage_source == "reported"
            and record.quota_tokens != (it.finished[name].prompt or 0) + (it.finished[name].completion or 0)
        })  # fmt: skip
        yield from _say("upstream and charged to no quota, as others are", {
            name for name, record in self._of.items()
            if self._has_quotas and name in it.received and not record.quota_windows
        })  # fmt: skip
        unfinished = {n: r for n, r in self._of.items() if n in it.received and n not in it.finished}
        yield from _say("a success before its end", {n for n, r in unfinished.items() if r.outcome == "success"})
        yield from _say(
            "of another outcome",
            {n for n, r in unfinished.items() if r.outcome not in CUT_SHORT | {"success", KINDS[kind_of(n)].outcome}},
        )
        yield from _say(
            "with tokens that nobody told",
            {n for n, r in unfinished.items() if r.usage_source in {"reported", "estimated"}},
        )
        yield from _say(
            "under another id than its caller was told",
            {name for ident, name in self._ids.items() if name in self._of and self._of[name].request_id != ident},
        )
        yield from _say("with the upstream's id of another call", {
            name for name, record in self._of.items()
            if record.provider_request_id != provider_id(name)
            and not (record.provider_request_id is None and record.outcome in CUT_SHORT | NEVER_UPSTREAM)
        })  # fmt: skip

    def _of_callers(self) -> Iterator[str]:
        it = self.evidence
        yield from _say("never answered", set(it.sent) - {answer.name for answer in it.answers})
        whole = {answer.name for answer in it.answers if answer.ended}
        yield from _say(
            "counted as no success, though its caller saw the end",
            {name for name in whole if name in self._of and self._of[name].outcome != "success"},
        )
        yield from _say("never counted, though its caller saw the end", whole - self._of.keys())
        yield from _say(
            "not served", {f"{a.name} ({a.seen}, {a.status})" for a in it.answers if not self._is_served(a)}
        )
        yield from _say("late", {
            f"{answer.name} ({self.added(answer):.1f} s)" for answer in it.answers
            if self.added(answer) > it.bound + _overlap(answer, it.stalls)
        })  # fmt: skip

    def _has_tokens(self, name: str, record: UsageRecord, told: Used) -> bool:
        usage = record.usage
        if told.prompt is None:  # they are counted by the gateway, after the answer
            return record.usage_source == "estimated" or (record.usage_source == "none" and self._was_counting(name))
        return (usage.prompt_tokens, usage.completion_tokens, record.usage_source) == (*told, "reported")

    def _was_counting(self, name: str) -> bool:
        """Tell whether a process was killed while it may still have been counting the tokens of a call."""
        longest = PATIENCE_SECONDS + sum(until - since for since, until in self.evidence.stalls)
        return any(
            answer.began <= kill <= answer.began + answer.seconds + longest
            for answer in self.evidence.answers if answer.name == name
            for kill in self.evidence.kills
        )  # fmt: skip

    def _is_served(self, answer: Answer) -> bool:
        due = KINDS[kind_of(answer.name)].seen
        as_due = answer.seen == due or (due == "left" and answer.seen == "whole")
        return as_due or answer.name in self.evidence.at_kills or self._was_away(answer)

    def _was_away(self, answer: Answer) -> bool:
        return _overlap(answer, self.evidence.away) > 0


def _overlap(answer: Answer, windows: Sequence[Window]) -> float:
    """Tell for how long a call was under way during *windows*."""
    end = answer.began + answer.seconds
    return sum(max(0.0, min(end, until) - max(answer.began, since)) for since, until in windows)


def _say(what: str, names: Collection[str]) -> Iterator[str]:
    if names:
        some = sorted(names)[:5]
        yield f"{len(names)} {what}: {', '.join(some)}{', …' if len(names) > len(some) else ''}"


class Books:
    """What stands in a ledger, in its order."""

    def __init__(self, url: str) -> None:
        self._ledger = Ledger(url)
        self._records: list[UsageRecord] = []

    def records(self) -> list[UsageRecord]:
        """Give all that is there by now, whose numbers have no gaps."""
        while fresh := self._ledger.read(len(self._records), 1000):
            assert [each.seq for each in fresh] == [len(self._records) + n for n in range(1, len(fresh) + 1)]
            self._records += [each.record for each in fresh]
        return list(self._records)

    def of(self, names: Collection[str]) -> list[UsageRecord]:
        """Give the records of calls with these names."""
        wanted = set(names)
        return [record for record in self.records() if record.end_user in wanted]

    def close(self) -> None:
        self._ledger.close()


@contextmanager
def books(url: str) -> Iterator[Books]:
    """Read a ledger for the length of a block."""
    it = Books(url)
    try:
        yield it
    finally:
        it.close()


def settle(it: Load, upstream: Bookkeeper, kept: Books, *, timeout: float = 60.0) -> Counter[str]:
    """Wait until all that *upstream* received of a load that is over is counted, then judge it; nothing was killed.

    Gives the number of calls by outcome.
    """
    mine = set(it.sent)
    received = {name: times for name, times in upstream.received.items() if name in mine}
    wait_until(
        lambda: received.keys() <= {record.end_user for record in kept.of(mine)},
        timeout=timeout,
        every=0.1,
        what="every call that reached the upstream is in the ledger",
    )
    verdict = Verdict(
        Evidence(
            sent=it.sent,
            answers=it.answers,
            received=received,
            finished={name: told for name, told in upstream.finished.items() if name in mine},
            seconds=upstream.seconds,
            records=kept.of(mine),
        )
    )
    assert verdict.faults == []
    return verdict.outcomes
