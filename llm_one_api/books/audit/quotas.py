"""What quotas are charged is what their records come to, and what Redis counts as booked is that."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta

import redis

from llm_one_api.books.audit.check import Context, Difference, Findings
from llm_one_api.books.quotas.check import QuotaCheck
from llm_one_api.books.quotas.comparing import Comparison, compare, spans_that_matter
from llm_one_api.limits import windows
from llm_one_api.limits.rules import UNITS, Rules
from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Amount

_ASIDE = timedelta(days=1)
"""By how much a gateway's clock, which tells when a call was admitted, may differ from Redis', which names its day."""
_NOTHING = Amount()
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class QuotasCheck:
    """Adds up the records by the windows that they name; then does what the quota check does, and corrects nothing."""

    name = "quotas"
    compares = "quota sums = records; booked in Redis = quota sums - resets"
    mends = "makes the sums of these windows anew, and has Redis counted anew"

    def __init__(self, wait: Callable[[float], None] = time.sleep) -> None:
        """Wait for what is on its way to Redis by *wait*."""
        self._wait = wait

    def run(self, context: Context) -> Findings:
        """Compare; the first half without Redis."""
        findings = Findings()
        found = self._records(context, findings)
        if context.limits is not None:
            try:
                self._redis(context, context.limits, findings)
            except (redis.RedisError, OSError) as error:
                findings.unchecked = f"Redis is away ({type(error).__name__})"
        elif not found:
            findings.elsewhere = "no quota is set, and no call was ever charged to one"
        else:
            findings.notes.append("Redis is not looked at: no quota is set, or `llm-one-api up` does not run")
        return findings

    def repair(self, context: Context, findings: Findings) -> None:
        """Make sums anew where they differ, then have Redis put right by them."""
        wrong = [str(each.what["window"]) for each in findings.differences if "records" in each.says]
        if wrong:
            since, until = _of(context)
            context.ledger.quota_audit.make_anew(set(wrong), since, until)
        if context.limits is not None:
            quotas, now = context.ledger.quotas, context.now.timestamp
            try:
                QuotaCheck(quotas, context.limits, Rules(), context.zone, wait=self._wait, clock=now).reconcile()
            except (redis.RedisError, OSError):
                return  # the second look says so

    @staticmethod
    def _records(context: Context, findings: Findings) -> bool:
        """Compare the sums with the records; tells whether there are any."""
        audit = context.ledger.quota_audit
        upto, kept = audit.kept()
        since, until = _of(context)
        by_records = audit.of_records(upto, since, until)
        deleted_before = context.ledger.audit.deleted_before()
        left_out = 0
        for window in sorted(kept.keys() | by_records.keys()):
            start, end = _bounds(context, window)
            if not (context.since <= start and end <= context.until):
                continue
            if deleted_before is not None and start < deleted_before + _ASIDE:
                left_out += 1
                continue
            findings.compared["windows"] = findings.compared.get("windows", 0) + 1
            _differ(findings, window, "records", by_records.get(window, _NOTHING), "sums", kept.get(window, _NOTHING))
        if left_out:
            findings.notes.append(f"{left_out} windows are left out: retention has deleted records of theirs")
        return bool(kept)

    def _redis(self, context: Context, limits: LimitStore, findings: Findings) -> None:
        spans = spans_that_matter(Calendar(context.zone), context.now.timestamp())
        found = compare(context.ledger.quotas, limits, spans, self._wait)
        findings.compared["windows in Redis"] = found.compared
        for each in _of_redis(found):
            findings.add(each)
        refused = sum(len(_refused(context, page.keys())) for page in limits.pending())
        if refused:
            findings.notes.append(f"{refused} calls count as used though the ledger refused them: see `set aside`")
        if found.trouble is None:
            for window, (booked, expected) in sorted(found.windows.items()):
                _differ(findings, window, "ledger", expected, "Redis", booked)


def _of_redis(found: Comparison) -> Iterator[Difference]:
    if found.trouble is not None:
        says = {
            "Redis": {"lost": "lost", "restarted": "of another run", "ledger_behind": "of a longer ledger"}[
                found.trouble
            ]
        }
        yield Difference(what={"what": "the counters"}, says=says, repairable=True)
    for request_id in sorted(found.pending):
        yield Difference(what={"request_id": request_id}, says={"ledger": "there", "Redis": "pending"}, repairable=True)
    if found.boosts:
        yield Difference(what={"what": "boosts"}, says={"Redis": "not those of the ledger"}, repairable=True)


def _refused(context: Context, ids: Collection[str]) -> set[str]:
    return context.ledger.audit.known(ids) - context.ledger.quotas.in_ledger(ids)


def _differ(findings: Findings, window: str, left: str, mine: Amount, right: str, theirs: Amount) -> None:
    for unit, one, other in zip(UNITS, mine, theirs, strict=True):
        if one != other:
            what = {"window": window, "figure": "nanos" if unit == "cost" else unit}
            findings.add(Difference(what=what, says={left: one, right: other}, repairable=True))


def _of(context: Context) -> tuple[datetime, datetime]:
    """Tell when the calls were admitted that may be charged to the windows that are looked at."""
    return max(context.since, _FIRST + _ASIDE) - _ASIDE, min(context.until, _LAST - _ASIDE) + _ASIDE


def _bounds(context: Context, window: str) -> tuple[datetime, datetime]:
    _, period, label = windows.parts(window)
    try:
        span = Calendar(context.zone).named(period, label)
    except ValueError:  # a name of nobody's
        return _FIRST, _LAST
    end = _LAST if span.end is None else datetime.fromtimestamp(span.end, UTC)
    return datetime.fromtimestamp(span.start, UTC), end
