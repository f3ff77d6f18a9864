"""What the tasks of one process work with: made when first needed, after the fork, and never shared across one."""

from __future__ import annotations

import os

from llm_one_api.books.deliver import Pace
from llm_one_api.books.quotas.booking import Booker
from llm_one_api.books.reports.alerts.rules import Alerting
from llm_one_api.limits.rules import Rules
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.settings import Settings, load
from llm_one_api.stores.counters import Acks, connect
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits import LimitStore
from workers.rules import CurrentRules

BOOK_SECONDS, CHECK_SECONDS = 0.5, 5.0
"""How long an ingest and a quota check wait for an answer of the limit store."""


class Parts:
    """The ledger, the acks, the limit store and the stats plugins, with connections of this process."""

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet."""
        self.ledger = Ledger(settings.ledger.url)
        self.acks = Acks(connect(settings.redis_url), settings.redis.key_prefix)
        self.limits = LimitStore(settings.redis_url, settings.redis.key_prefix, timeout=BOOK_SECONDS)
        self.book = Booker(self.limits)
        self.patient_limits = LimitStore(settings.redis_url, settings.redis.key_prefix, timeout=CHECK_SECONDS)
        self.rules = CurrentRules(settings, load)
        self.plugins = StatsPlugins(
            settings.plugins.stats,
            settings.stats,
            settings.plugin_context(),
            call_timeout=settings.delivery.call_timeout,
        )
        self.pace = Pace(
            lease=settings.delivery.lease,
            retry_min=settings.delivery.retry_min,
            retry_max=settings.delivery.retry_max,
            tries=settings.delivery.tries,
        )

    def limit_rules(self) -> Rules:
        """Tell which limits there are now."""
        return self.rules.now()

    def alerting(self) -> Alerting:
        """Tell which rules and channels of alerts there are now."""
        return self.rules.alerting()

    def close(self) -> None:
        """Clean up the plugins and close the connections."""
        self.plugins.close()
        self.limits.close()
        self.patient_limits.close()
        self.ledger.close()


_made: dict[int, Parts] = {}


def parts(settings: Settings) -> Parts:
    """Give this process's."""
    mine = _made.get(os.getpid())
    if mine is None:
        _made.clear()  # what a parent made is the parent's
        mine = _made[os.getpid()] = Parts(settings)
    return mine


def close() -> None:
    """Close this process's, if it has any."""
    mine = _made.pop(os.getpid(), None)
    if mine is not None:
        mine.close()
