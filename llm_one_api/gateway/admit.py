"""Sixth stage: whether the call may be made now. All its limits are checked and reserved together, or none is."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Literal, Protocol

import gevent
import structlog

from llm_one_api.errors import BadRequest, LimitsUnavailable, RateLimited
from llm_one_api.gateway import wording
from llm_one_api.gateway.courier import Away, Courier
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.leases import Lease, Leases
from llm_one_api.gateway.local import Local
from llm_one_api.gateway.observed import Observed
from llm_one_api.gateway.plans import Plan, Plans
from llm_one_api.gateway.read import Request
from llm_one_api.gateway.refusing import refusal, worth_a_wait
from llm_one_api.gateway.reserving import input_tokens, output_tokens
from llm_one_api.limits.charging import MOST
from llm_one_api.limits.money import nanos_of
from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.limits.messages import Admit as Asked
from llm_one_api.stores.limits.messages import Reply
from llm_one_api.targets import Target
from llm_one_api.values import Call, Caller, Permit, Standing, Usage

log = structlog.get_logger()

_TRIES = 3
_SAID_EVERY = 60.0
_NO_PERMIT = Permit()

Price = Callable[[Target, str, int, int], Decimal | None]
"""Tell what a call to a target's endpoint costs, of so many input and output tokens; None: no price is known."""


class UnpricedModel(BadRequest):
    """A cost is limited, and nobody knows what the call costs."""

    status, code = 403, "unpriced_model"


class Grant:
    """What a call was given. Its end is told by `release`; or by `cancel`, if it is not made at all."""

    __slots__ = ("_lease", "_limits", "permit", "standing")

    def __init__(
        self,
        permit: Permit = _NO_PERMIT,
        standing: Standing | None = None,
        limits: Limited | None = None,
        lease: Lease | None = None,
    ) -> None:
        self.permit = permit
        self.standing = standing
        """How its caller's minute stands; None: it is not limited, or nobody can tell."""
        self._limits = limits
        self._lease = lease

    def release(self, usage: Usage | None) -> None:
        """Give back what it held: it has ended with this *usage*, None: nobody knows. Quotas are the relay's matter."""
        if self._limits is not None and self._lease is not None:
            self._limits.end(self._lease, usage)

    def cancel(self) -> None:
        """Give back all of it: the call is not made."""
        if self._limits is not None and self._lease is not None:
            self._limits.cancel(self._lease)


NO_GRANT = Grant()


class Limits(Protocol):
    """What admit needs from rate limits and quotas."""

    def reserve(self, call: Call, caller: Caller, endpoint: Endpoint, request: Request, target: Target) -> Grant:
        """Reserve all that the call may use, or nothing. Raises a GatewayError if it may not be made."""


class Unlimited:
    """For installations that set no limits."""

    def reserve(self, call: Call, caller: Caller, endpoint: Endpoint, request: Request, target: Target) -> Grant:  # noqa: ARG002 (the protocol's)
        """Reserve nothing."""
        return NO_GRANT


class Limited:
    """Asks the limit store, or decides without it while it is away."""

    def __init__(
        self,
        plans: Plans,
        courier: Courier,
        leases: Leases,
        local: Local,
        *,
        calendar: Calendar,
        observed: Observed,
        price: Price,
        unpriced: Literal["refuse", "allow"],
        when_unavailable: Literal["allow", "refuse"],
    ) -> None:
        """Join the parts."""
        self._plans = plans
        self._courier = courier
        self._leases = leases
        self._local = local
        self._calendar = calendar
        self._observed = observed
        self._price = price
        self._refuse_unpriced = unpriced == "refuse"
        self._allow_without = when_unavailable == "allow"
        self._shadow_said: dict[tuple[str, str], float] = {}

    def reserve(self, call: Call, caller: Caller, endpoint: Endpoint, request: Request, target: Target) -> Grant:
        """Reserve all that the call may use, or nothing. Raises a GatewayError if it may not be made."""
        plan = self._plans.of(caller, target.model)
        if plan.is_empty:
            return NO_GRANT
        own = input_tokens(endpoint, request.body)
        permit = _NO_PERMIT
        tokens = 0
        if endpoint.metered:
            out = output_tokens(request.asked, endpoint, target, self._observed)
            tokens = min(own + out, MOST)
            if plan.quotas:
                nanos = self._nanos(plan, endpoint, target, own, out) if plan.limits_cost else 0
                permit = Permit(windows=plan.windows, tokens=tokens, input_tokens=own, nanos=nanos)
        for _ in range(_TRIES):
            asked = _asked(call.id, plan, permit, tokens, allow_unwhole=self._allows_without(plan))
            try:
                reply = self._courier.ask(asked)
                if wait := worth_a_wait(permit, reply):
                    gevent.sleep(wait)
                    reply = self._courier.ask(asked)
            except Away:
                return self._without_store(call, target, plan, permit, tokens)
            if reply.code != "stale":
                return self._decided(call, target, plan, permit, tokens, reply)
            self._plans.set_clock(reply.now_ms / 1000)
            plan = self._plans.of(caller, target.model)
            if permit.windows:
                permit = Permit(
                    windows=plan.windows, tokens=permit.tokens, input_tokens=permit.input_tokens, nanos=permit.nanos
                )
        raise LimitsUnavailable("The limits cannot be looked up just now. Try again.", retry_after=1)

    def end(self, lease: Lease, usage: Usage | None) -> None:
        """Give back what a call held that has ended."""
        self._leases.end(lease, None if usage is None else usage.total_tokens)
        if usage is not None and usage.completion_tokens is not None:
            self._observed.saw(lease.model, usage.completion_tokens)

    def cancel(self, lease: Lease) -> None:
        """Give back all that a call held that is not made."""
        self._leases.cancel(lease)

    def _decided(self, call: Call, target: Target, plan: Plan, permit: Permit, tokens: int, reply: Reply) -> Grant:
        has_rates = reply.requests is not None or reply.tokens is not None
        standing = Standing(requests=reply.requests, tokens=reply.tokens) if has_rates else None
        if reply.code == "refused":
            error = refusal(plan, tokens, permit, reply, self._calendar)
            error.standing = standing
            raise error
        if reply.code == "unwhole":
            raise self._unavailable()
        if not reply.whole and permit.windows:
            self._local.without += 1
        for kind, index in reply.shadows:
            self._say_shadow(plan, kind, index)
        lease = self._leases.begin(call.id, target.model, plan, permit, tokens, admitted_at=reply.now_ms // 1000)
        return Grant(permit, standing, self, lease)

    def _without_store(self, call: Call, target: Target, plan: Plan, permit: Permit, tokens: int) -> Grant:
        """Decide without the store: rates by this process's share of them, quotas as the policy says."""
        if permit.windows and not self._allows_without(plan):
            raise self._unavailable()
        local = self._local
        for kind, limits, amount in (("requests", plan.requests, 1), ("tokens", plan.tokens, tokens)):
            for limit in limits:
                retry = local.retry_in(limit.scope, kind, limit.limit, amount)
                if limit.action == "shadow":
                    continue
                if amount > limit.limit:
                    raise RateLimited(wording.too_large(limit, amount), of="tokens", never=True)
                if retry is not None:
                    message = wording.rate_without_store(limit, kind, retry)
                    raise RateLimited(message, of="requests" if kind == "requests" else "tokens", retry_after=retry)
        for limit in plan.concurrent:
            if local.is_full(limit.scope, limit.limit) and limit.action != "shadow":
                raise RateLimited(wording.concurrent(limit), of="requests", retry_after=1)
        for limit in plan.requests:
            local.use(limit.scope, "requests", 1)
        for limit in plan.tokens:
            local.use(limit.scope, "tokens", tokens)
        self._local.without += 1
        lease = self._leases.begin(call.id, target.model, plan, permit, tokens, admitted_at=None)
        return Grant(permit, None, self, lease)

    def _allows_without(self, plan: Plan) -> bool:
        """Whether calls pass whose quotas cannot be looked at; those that only tell refuse none."""
        return self._allow_without or all(map(plan.is_shadow, range(len(plan.quotas))))

    def _unavailable(self) -> LimitsUnavailable:
        return LimitsUnavailable(
            "The limits of this gateway cannot be looked up just now, and it is set to refuse calls then. Try again.",
            retry_after=5,
        )

    def _nanos(self, plan: Plan, endpoint: Endpoint, target: Target, own: int, out: int) -> int:
        """Tell what the call may cost. Raises UnpricedModel if nobody knows and that is to be refused."""
        cost = self._price(target, endpoint.name, own, out)
        if cost is not None:
            return min(nanos_of(cost), MOST)
        for index, (scope, _, amounts) in enumerate(plan.places) if self._refuse_unpriced else ():
            if amounts.cost is not None:
                if not plan.is_shadow(index):
                    raise UnpricedModel(wording.unpriced(scope, target.model), param="model")
                self._say_shadow(plan, "cost", index)
        return 0

    def _say_shadow(self, plan: Plan, kind: str, index: int) -> None:
        limits = {"rpm": plan.requests, "tpm": plan.tokens, "concurrent": plan.concurrent}
        scope = limits[kind][index].scope if kind in limits else plan.places[index][0]
        now = time.monotonic()
        if now >= self._shadow_said.get((scope, kind), 0.0):
            if len(self._shadow_said) > 10_000:  # noqa: PLR2004
                self._shadow_said.clear()
            self._shadow_said[scope, kind] = now + _SAID_EVERY
            log.info("limits.would_refuse", scope=scope, kind=kind)


def _asked(call_id: str, plan: Plan, permit: Permit, tokens: int, *, allow_unwhole: bool) -> Asked:
    return Asked(
        id=call_id,
        tokens=permit.tokens,
        nanos=permit.nanos,
        allow_unwhole=allow_unwhole,
        quotas=plan.quotas if permit.windows else (),
        rates=plan.rates(tokens),
        concurrent=plan.slots,
    )


class Admit:
    """Reserve what the call may use."""

    def __init__(self, limits: Limits) -> None:
        """Keep the limits."""
        self._limits = limits

    def __call__(self, call: Call, caller: Caller, endpoint: Endpoint, request: Request, target: Target) -> Grant:
        """Give the grant. Raises a GatewayError if the call may not be made now."""
        return self._limits.reserve(call, caller, endpoint, request, target)
