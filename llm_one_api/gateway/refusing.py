"""What becomes of a call that a limit has no room for."""

from __future__ import annotations

from llm_one_api.errors import GatewayError, QuotaExceeded, RateLimited
from llm_one_api.gateway import wording
from llm_one_api.gateway.plans import Plan
from llm_one_api.limits.rules import Unit
from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.limits.messages import Reply
from llm_one_api.values import Permit

END_ON_ITS_WAY = 0.02
"""Seconds: where a caller has all its calls under way, the end of one may be on its way to the store just now."""
CHARGE_ON_ITS_WAY = 0.1
"""Seconds: where only reservations are in the way of a call, the relay may be about to charge what was used of them."""


def worth_a_wait(permit: Permit, reply: Reply) -> float:
    """Tell after how many seconds there may be room; 0: not so soon."""
    if reply.code != "refused":
        return 0.0
    if reply.kind == "concurrent":
        return END_ON_ITS_WAY
    return CHARGE_ON_ITS_WAY if _only_reserved(permit, reply) else 0.0


def refusal(plan: Plan, tokens: int, permit: Permit, reply: Reply, calendar: Calendar) -> GatewayError:
    """Make the error of a call that was refused, and needed so many *tokens*."""
    kind, index = reply.kind, reply.index
    retry = max(0.001, reply.retry_ms / 1000)
    if kind == "rpm":
        message = wording.rate(plan.requests[index], "requests", reply.used, 1, retry)
        return RateLimited(message, of="requests", retry_after=retry)
    if kind == "tpm":
        limit = plan.tokens[index]
        if tokens > limit.limit:
            return RateLimited(wording.too_large(limit, tokens), of="tokens", never=True)
        return RateLimited(wording.rate(limit, "tokens", reply.used, tokens, retry), of="tokens", retry_after=retry)
    if kind == "concurrent":
        return RateLimited(wording.concurrent(plan.concurrent[index]), of="requests", retry_after=1)
    scope, period, _ = plan.places[index]
    if kind == "throttle":
        message = wording.throttled(scope, period, plan.quotas[index][5], retry)
        return RateLimited(message, of="requests", retry_after=retry)
    unit: Unit = kind or "requests"
    ends = calendar.end_of(plan.windows[index])
    asked = _asked(permit, unit)
    message = wording.quota(
        scope, period, unit, limit=reply.limit, used=reply.used, held=reply.held, asked=asked, ends=ends
    )
    return QuotaExceeded(message, retry_after=1 if _only_reserved(permit, reply) else None)


def _only_reserved(permit: Permit, reply: Reply) -> bool:
    """Whether a quota has room for the call as soon as calls under way use less than they have reserved."""
    unit = reply.kind
    if unit not in {"tokens", "requests", "cost"}:
        return False
    return reply.used + _asked(permit, unit) <= reply.limit


def _asked(permit: Permit, unit: Unit) -> int:
    return {"tokens": permit.tokens, "requests": 1, "cost": permit.nanos}[unit]
