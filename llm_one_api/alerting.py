"""Joins what alerts are made of: for workers, which look each minute, and for commands.

Figures come from the ledger, the relay of this machine and Redis; who is told, the config says.
"""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from functools import partial
from typing import Protocol

from llm_one_api.books.jobs import Done
from llm_one_api.books.reports.alerts.check import Check
from llm_one_api.books.reports.alerts.delivering import Delivering
from llm_one_api.books.reports.alerts.figures import Looking
from llm_one_api.books.reports.alerts.rules import Alerting
from llm_one_api.limits.rules import Rules
from llm_one_api.settings import Settings
from llm_one_api.stores.gateways import GatewayStore
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.upstreams.overview import Overview, look
from llm_one_api.stores.upstreams.store import UpstreamStore

REDIS_SECONDS = 5.0
"""How long Redis may take to answer."""


class Means(Protocol):
    """What alerts are looked at with."""

    @property
    def ledger(self) -> Ledger:
        """The ledger."""

    def limit_rules(self) -> Rules:
        """Tell which limits there are now."""

    def alerting(self) -> Alerting:
        """Tell which rules and channels there are now."""


def check_alerts(settings: Settings, means: Means) -> Done:
    """Look at all rules, unless somebody did just now, then bring what waits to its channels.

    Raises what the ledger raises.
    """
    alerting, ledger = means.alerting(), means.ledger
    look_at = partial(looking, settings, ledger, means.limit_rules())
    delivering = Delivering(ledger.alerts.mail, alerting.channels, settings.zone)
    try:
        looked = Check(ledger.alerts, alerting, settings.zone, look_at).run()
    finally:  # what waits is to be sent, whatever is wrong with the rules
        sent = delivering.run()
    if looked is None:  # somebody else does, or did just now; only they know whether it went well
        return Done(result={"sent": sent}, idle=True)
    return Done(result={"rules": looked.rules, "firing": looked.firing, "events": looked.events, "sent": sent})


def looking(settings: Settings, ledger: Ledger, limits: Rules, now: datetime) -> Looking:
    """Make what looks at the figures of a moment."""
    return Looking(
        ledger,
        now,
        zone=settings.zone,
        limits=limits,
        journal=settings.journal_folder,
        upstreams=partial(_overview, settings),
        lags=partial(_lags, settings),
    )


def _lags(settings: Settings) -> list[float]:
    """Give how late the records of each machine are, as far as its gateway tells."""
    with closing(GatewayStore(settings.redis_url, settings.redis.key_prefix, timeout=REDIS_SECONDS)) as store:
        found = [journal.lag_seconds for journal in store.read().journals.values()]
    return [lag for lag in found if lag is not None]


def _overview(settings: Settings) -> Overview:
    with closing(UpstreamStore(settings.redis_url, settings.redis.key_prefix, timeout=REDIS_SECONDS)) as store:
        return look(store.read())
