"""What this process's calls hold in the limit store: renewed while they last, given back when they end.

A process that dies renews nothing: what its calls held comes back by itself when their leases end, or is settled when
the relay finds that they will not end any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent

from llm_one_api.gateway.courier import Courier
from llm_one_api.gateway.local import Local
from llm_one_api.gateway.plans import Plan
from llm_one_api.stores.limits.messages import Cancel, Done, Renew
from llm_one_api.values import Permit

LOOK_EVERY = 1.0


class Lease:
    """One call's."""

    __slots__ = ("bucket", "call_id", "is_known", "model", "permit", "plan", "renew_at", "tokens")

    def __init__(
        self, call_id: str, model: str, plan: Plan, permit: Permit, tokens: int, bucket: int | None, renew_at: float
    ) -> None:
        self.call_id = call_id
        self.model = model
        self.plan = plan
        self.permit = permit
        self.tokens = tokens
        """What it was taken to use in its minute."""
        self.bucket = bucket
        """The store's second in which it was admitted; None: it was without the store."""
        self.is_known = bucket is not None
        """Whether the store has heard of it."""
        self.renew_at = renew_at


class Leases:
    """Those of one process."""

    def __init__(
        self, courier: Courier, local: Local, *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Hold leases of *seconds*, as the store does."""
        self._courier = courier
        self._local = local
        self._every = seconds / 3
        self._clock = clock
        self._held: dict[str, Lease] = {}
        self._greenlet: Any = None

    def start(self) -> None:
        """Begin to renew, on this thread's hub."""
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._renew)

    def stop(self) -> None:
        """Renew no more."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None

    def begin(
        self, call_id: str, model: str, plan: Plan, permit: Permit, tokens: int, *, admitted_at: int | None
    ) -> Lease:
        """Hold what a call was given; *admitted_at*: the store's second, None: the store was away."""
        lease = Lease(call_id, model, plan, permit, tokens, admitted_at, self._clock() + self._every)
        self._held[call_id] = lease
        if admitted_at is None:
            for limit in plan.concurrent:
                self._local.enter(limit.scope)
        return lease

    def end(self, lease: Lease, tokens: int | None) -> None:
        """Give back a call's place, and correct what its minute was charged, now that its *tokens* are known."""
        if self._held.pop(lease.call_id, None) is None:
            return
        plan = lease.plan
        corrections = []
        if lease.bucket is None:
            self._leave(lease)
        elif tokens is not None and tokens != lease.tokens:
            corrections = [(limit.scope, lease.bucket, tokens - lease.tokens) for limit in plan.tokens]
        if lease.is_known and (plan.concurrent or corrections):
            self._courier.tell(
                Done(id=lease.call_id, concurrent=[limit.scope for limit in plan.concurrent], corrections=corrections)
            )

    def cancel(self, lease: Lease) -> None:
        """Give back all that a call held that is not made."""
        if self._held.pop(lease.call_id, None) is None:
            return
        if lease.bucket is None:
            self._leave(lease)
        if lease.is_known:
            scopes = [limit.scope for limit in lease.plan.concurrent]
            self._courier.tell(Cancel(id=lease.call_id, concurrent=scopes))

    def _leave(self, lease: Lease) -> None:
        for limit in lease.plan.concurrent:
            self._local.leave(limit.scope)

    def _renew(self) -> None:
        while True:
            gevent.sleep(min(LOOK_EVERY, self._every))
            if self._courier.away_since is not None:
                continue
            now = self._clock()
            for lease in [lease for lease in self._held.values() if now >= lease.renew_at]:
                lease.renew_at = now + self._every
                lease.is_known = True
                permit, plan = lease.permit, lease.plan
                if permit.windows or plan.concurrent:
                    scopes = [limit.scope for limit in plan.concurrent]
                    self._courier.tell(
                        Renew(
                            id=lease.call_id,
                            tokens=permit.tokens,
                            nanos=permit.nanos,
                            windows=permit.windows,
                            concurrent=scopes,
                        )
                    )
