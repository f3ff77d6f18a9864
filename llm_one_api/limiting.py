"""Joins what a gateway process limits calls by: the means live as long as the process, the rules follow the config."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

from llm_one_api.gateway.admit import Limited
from llm_one_api.gateway.courier import PATIENCE, Courier
from llm_one_api.gateway.leases import Leases
from llm_one_api.gateway.local import Local
from llm_one_api.gateway.observed import Observed
from llm_one_api.gateway.plans import Plans
from llm_one_api.limits.rules import Rules
from llm_one_api.limits.windows import Calendar
from llm_one_api.pricing.pricer import Pricer
from llm_one_api.pricing.rates import MOST
from llm_one_api.settings import Settings
from llm_one_api.stores.limits.overview import Overview, Sets, look
from llm_one_api.stores.limits.store import LimitStore
from llm_one_api.targets import Target
from llm_one_api.values import Usage, UsageRecord

_HEARD = {"transcriptions", "translations"}
_FEW = 2
"""Tokens: where so many have no cost, no price is known; where more have none, it may be too high for a cost."""


class Limiting:
    """The way to the limit store, and what calls hold there. What they hold goes on when the rules change."""

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet."""
        self._url, self._prefix = settings.redis_url, settings.redis.key_prefix
        self._calendar = Calendar(settings.zone)
        self.courier = Courier(LimitStore(self._url, self._prefix, lease=settings.quota.lease, timeout=PATIENCE))
        self._local = Local(settings.server.workers)
        self._leases = Leases(self.courier, self._local, seconds=settings.quota.lease)
        self._default_output = settings.quota.default_output_tokens
        self._observed = Observed(default=self._default_output)

    def start(self) -> None:
        """Begin, on this thread's hub. Where nothing is limited, nothing is asked of the store."""
        self.courier.start()
        self._leases.start()

    def stop(self) -> None:
        """End, having given back what is to be given back."""
        self._leases.stop()
        self.courier.stop()

    @property
    def without(self) -> int:
        """Count the calls that were admitted while the limit store was away, or had lost its counters."""
        return self._local.without

    def by(self, settings: Settings, rules: Rules, pricer: Pricer) -> Limited | None:
        """Join what decides by *rules*; None: there are none, and that costs nothing."""
        if rules.are_none:
            return None
        quota = settings.quota
        if quota.default_output_tokens != self._default_output:
            self._default_output = quota.default_output_tokens
            self._observed = Observed(default=self._default_output)
        return Limited(
            Plans(rules, self._calendar),
            self.courier,
            self._leases,
            self._local,
            calendar=self._calendar,
            observed=self._observed,
            price=partial(price, pricer.price),
            unpriced=quota.unpriced,
            when_unavailable=quota.when_unavailable,
        )

    def look(self, sets: Sets) -> Overview:
        """Look up how limits stand, over a connection of its own."""
        with closing(LimitStore(self._url, self._prefix)) as store:
            return look(store, sets, self._calendar, time.time())

    def are_whole(self, rules: Rules) -> bool:
        """Ask the limit store whether limits can be relied on, over a connection of this thread alone.

        It may answer this and yet not calls: where it can write nothing, or takes longer than they may wait.
        """
        if rules.are_none:
            return True
        if self.courier.away_since is not None:
            return False
        with closing(LimitStore(self._url, self._prefix)) as store:
            return store.state() is not None or not rules.have_quotas


def price(
    of: Callable[[UsageRecord], UsageRecord], target: Target, endpoint: str, own: int, out: int
) -> Decimal | None:
    """Tell what a call would cost, by the price of a record with such a usage; None: no price is known.

    Nobody knows yet how many images it makes or how long its audio is: it is taken for one image, and no audio.
    """
    used = Usage(
        prompt_tokens=own,
        completion_tokens=out,
        total_tokens=own + out,
        images=1 if endpoint.startswith("image") else None,
        audio_seconds=0.0 if endpoint in _HEARD else None,
    )
    record = UsageRecord(
        request_id="",
        at=datetime.now(UTC),
        model=target.model,
        upstream_model=target.upstream_model,
        user="",
        key="",
        endpoint=endpoint,
        outcome="success",
        upstream=target.upstream.name,
        usage=used,
        usage_source="estimated",
    )
    cost = of(record).cost
    if cost is None and own + out > _FEW and price(of, target, endpoint, min(own, 1), min(out, 1)) is not None:
        return MOST  # its price is known, and it comes to more than any call's cost
    return cost
