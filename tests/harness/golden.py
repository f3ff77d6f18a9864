"""A golden year: calls made up over a leap day and the clock changes of two continents, and what they come to.

`recount` adds up as one would by hand, call by call, and shares nothing with the product: what pages, terminals,
exports and metrics say of these calls must be what it says.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from llm_one_api.values import Attempt, Usage, UsageRecord
from tests.harness.records import record

SINCE, UNTIL = datetime(2028, 2, 10, tzinfo=UTC), datetime(2028, 11, 20, tzinfo=UTC)
BERLIN, NEW_YORK, KOLKATA = (ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Asia/Kolkata"))
ZONES = (BERLIN, NEW_YORK, KOLKATA)
"""Two that change their clocks on different days, and one that is half an hour beside the others."""

MOMENTS = (
    datetime(2028, 2, 29, 12, tzinfo=UTC),  # a day that most years do not have
    datetime(2028, 3, 12, 7, tzinfo=UTC),  # New York: an hour is skipped,
    datetime(2028, 11, 5, 6, tzinfo=UTC),  # and one comes twice
    datetime(2028, 3, 26, 1, tzinfo=UTC),  # Berlin: likewise
    datetime(2028, 10, 29, 1, tzinfo=UTC),
    datetime(2028, 6, 30, 21, tzinfo=UTC),  # the end of a month, in each zone at another time
)
"""Around these most calls are."""
FAILED = {"upstream_error", "timeout", "truncated", "stream_error", "aborted"}


@cache
def calls(number: int = 600, seed: int = 28) -> tuple[UsageRecord, ...]:
    """Make up *number* calls, in the order in which they come in: mostly that of their time."""
    chance = random.Random(seed)
    made = [_call(n, _moment(chance), chance) for n in range(number)]
    made.sort(key=lambda call: call.at + timedelta(minutes=chance.choice((0, 0, 0, 300))))
    return tuple(made)


def _moment(chance: random.Random) -> datetime:
    if chance.random() < 0.7:
        at = chance.choice(MOMENTS) + timedelta(seconds=chance.gauss(0, 12 * 3600))
    else:
        at = SINCE + (UNTIL - SINCE) * chance.random()
    return at.replace(microsecond=chance.choice((0, 1, 999_999)), minute=chance.choice((0, 14, 15, 29, 30, 44, 59)))


def _call(number: int, at: datetime, chance: random.Random) -> UsageRecord:
    user = chance.choice(("alice", "bob", "carol"))
    outcomes = ("success", "success", "success", "success", *sorted(FAILED), "client_error", "client_gone", "rejected")
    outcome = chance.choice(outcomes)
    refused = outcome == "rejected"
    tokens = (chance.randrange(1, 3000), chance.randrange(1, 900))
    source = "none" if refused else chance.choice(("reported", "reported", "estimated", "partial", "none"))
    usage = Usage(
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1] if source != "partial" else None,
        total_tokens=sum(tokens) if source != "partial" else None,
        cache_read_tokens=chance.choice((None, tokens[0] // 2)),
        reasoning_tokens=chance.choice((None, tokens[1] // 3)),
        audio_seconds=chance.choice((None, None, 1.5)),
    )
    stream = chance.random() < 0.5
    duration = None if outcome == "aborted" else round(chance.lognormvariate(0.5, 1), 6)
    upstream = None if refused else chance.choice(("north", "south", "west"))
    tries = 0 if refused else chance.choice((1, 1, 1, 2))
    return record(
        number,
        request_id=f"golden-{number:06}",
        at=at,
        model=chance.choice(("gpt-a", "gpt-b", "gpt-c")),
        error="model_not_found" if refused and chance.random() < 0.5 else None,
        user=user,
        key=f"key_{user}_{chance.choice((1, 2))}",
        endpoint=chance.choice(("chat", "responses")),
        stream=stream,
        outcome=outcome,
        upstream=upstream,
        attempts=(Attempt(upstream=upstream or ""),) * tries,
        sdk_retry_count=chance.choice((None, 0, 0, 2)),
        duration=duration,
        ttft=round((duration or 1) / 3, 6) if stream and not refused else None,
        usage=usage if source != "none" else Usage(),
        usage_source=source,
        cost=None if source == "none" or chance.random() < 0.2 else Decimal(chance.randrange(10**9)).scaleb(-12),
    )


def dimension(call: UsageRecord, name: str) -> Any:
    """Tell what a call is counted under."""
    if name == "model" and call.error == "model_not_found":
        return "(unknown)"
    return (call.upstream or "") if name == "upstream" else getattr(call, name)


def begin(call: UsageRecord, bucket: str | None, zone: ZoneInfo) -> datetime | None:
    """Tell in which bucket a call was admitted, by the begin of that, in UTC."""
    local = call.at.astimezone(zone)
    if bucket is None:
        return None
    if bucket == "15m":
        local = local.replace(minute=local.minute // 15 * 15, second=0, microsecond=0)
    elif bucket == "hour":
        local = local.replace(minute=0, second=0, microsecond=0)
    else:
        day = local.day if bucket == "day" else 1
        local = datetime(local.year, local.month, day, tzinfo=zone)
    return local.astimezone(UTC)


def recount(
    made: Iterable[UsageRecord],
    zone: ZoneInfo,
    bucket: str | None = None,
    group_by: Sequence[str] = (),
    only: Callable[[UsageRecord], bool] = lambda _call: True,
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Add up *made* by the begin of their bucket (in UTC) and what they are grouped by."""
    groups: dict[tuple[Any, ...], list[UsageRecord]] = {}
    for call in made:
        if only(call):
            key = (begin(call, bucket, zone), *[dimension(call, name) for name in group_by])
            groups.setdefault(key, []).append(call)
    return {key: figures(group) for key, group in groups.items()}


def figures(made: Sequence[UsageRecord]) -> dict[str, Any]:
    """Tell what calls come to."""
    usages = [call.usage for call in made]
    costs = [call.cost for call in made if call.cost is not None]
    durations = [call.duration for call in made if call.duration is not None]
    ttfts = [call.ttft for call in made if call.ttft is not None]
    outcomes: dict[str, int] = {}
    for call in made:
        outcomes[call.outcome] = outcomes.get(call.outcome, 0) + 1
    failed = sum(calls for outcome, calls in outcomes.items() if outcome in FAILED)
    judged = failed + outcomes.get("success", 0)
    unpriced = sum(call.cost is None and call.usage_source != "none" for call in made)
    known = [usage.total_tokens for usage in usages if usage.total_tokens is not None]
    return {
        "requests": len(made),
        "streams": sum(call.stream for call in made),
        "attempts": sum(len(call.attempts) for call in made),
        "sdk_retries": sum(bool(call.sdk_retry_count) for call in made),
        "outcomes": outcomes,
        "prompt_tokens": sum(usage.prompt_tokens or 0 for usage in usages),
        "completion_tokens": sum(usage.completion_tokens or 0 for usage in usages),
        "total_tokens": sum(known),
        "cache_read_tokens": sum(usage.cache_read_tokens or 0 for usage in usages),
        "reasoning_tokens": sum(usage.reasoning_tokens or 0 for usage in usages),
        "audio_us": sum(round((usage.audio_seconds or 0) * 10**6) for usage in usages),
        "estimated": sum(call.usage_source == "estimated" for call in made),
        "partial": sum(call.usage_source == "partial" for call in made),
        "priced": len(costs),
        "unpriced": unpriced,
        "cost": sum(costs, Decimal()) if costs else None,
        "failed": failed,
        "error_rate": round(failed / judged, 6) if judged else None,
        "avg_tokens": round(sum(known) / len(known), 3) if known else None,
        "avg_duration": _mean(durations),
        "avg_ttft": _mean(ttfts),
        "unpriced_share": round(unpriced / (unpriced + len(costs)), 6) if unpriced or costs else None,
        "durations": durations,
        "ttfts": ttfts,
    }


def _mean(seconds: Sequence[float]) -> float | None:
    microseconds = sum(round(each * 10**6) for each in seconds)
    return round(microseconds / len(seconds) / 10**6, 6) if seconds else None


def quantile(values: Sequence[float], share: float) -> float:
    """Give the value that *share* of *values* are at most."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def told(sums: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    """Read from *sums* what *names* names, to be compared with `figures`."""
    return {name: getattr(sums, name) for name in names if name not in {"durations", "ttfts"}}
