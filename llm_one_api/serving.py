"""Joins what answers calls: what lives as long as the process, and what follows the config.

Kept(settings) ── once ────────────────────────────────┐
Draft(settings) ── at the start and at each reload ──▶ serving(draft, kept) ──▶ Serving
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import gevent
import structlog

from llm_one_api.errors import ConfigError
from llm_one_api.gateway.admit import Admit, Unlimited
from llm_one_api.gateway.authenticate import Authenticate
from llm_one_api.gateway.balance import Balance
from llm_one_api.gateway.counts import Counts
from llm_one_api.gateway.estimate import Estimator
from llm_one_api.gateway.floods import Floods
from llm_one_api.gateway.forward import Forward
from llm_one_api.gateway.line import Line
from llm_one_api.gateway.pool import Pools
from llm_one_api.gateway.prepare import Prepare
from llm_one_api.gateway.read import Read
from llm_one_api.gateway.record import Record
from llm_one_api.gateway.route import Route
from llm_one_api.gateway.upstreams.members import Members
from llm_one_api.gateway.upstreams.probing import Probing
from llm_one_api.gateway.upstreams.sharing import Sharing
from llm_one_api.gateway.watch import Bounds, Watch
from llm_one_api.limiting import Limiting
from llm_one_api.limits.rules import Rules
from llm_one_api.plugins import manager
from llm_one_api.plugins.interfaces import AuthPlugin, ModelRoutePlugin, Plugin, PluginContext
from llm_one_api.pricing.pricer import Pricer
from llm_one_api.settings import Settings
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.stores.upstreams import UpstreamStore
from llm_one_api.web.current import Serving
from llm_one_api.web.off_hub import on_disk

log = structlog.get_logger()

CLEANUP_SECONDS = 5.0
"""What a plugin gets to close what it has opened."""


class Kept:
    """What lives as long as the process, whatever becomes of the config: the journal, connections, counts.

    Opens no connection and starts nothing: that is for after the fork.
    """

    def __init__(self, settings: Settings) -> None:
        """Make all of it by the config that the process starts with."""
        self.refuse_when_full = settings.journal.on_full == "refuse"
        self.watch = Watch(bounds(settings))
        self.journal = Journal(
            settings.journal_folder,
            segment_bytes=settings.journal.segment_bytes,
            segment_seconds=settings.journal.segment_seconds,
            fsync=settings.journal.fsync,
            offload=on_disk,
        )
        self.floods = Floods(
            per_minute=settings.rate_limit.failed_auth_per_minute, trusted_proxies=settings.server.trusted_proxies
        )
        self.counts = Counts()
        self.record = Record(self.journal, self.counts, refuse_when_full=self.refuse_when_full)
        self.estimator = Estimator()
        self.prepare = Prepare()
        self.pools = Pools()
        self.forward = Forward(self.pools, self.prepare.refused)
        self.members = Members(partial(manager.strategy, context=settings.plugin_context()))
        self.sharing = Sharing(
            self.members, UpstreamStore(settings.redis_url, settings.redis.key_prefix), calls=self.watch.calls
        )
        self.probing = Probing(self.members, self.pools, self.sharing.may_probe)
        self.limiting = Limiting(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What of a config takes long to work out, and can be worked out beside the calls, in any thread."""

    settings: Settings
    rules: Rules
    pricer: Pricer
    context: PluginContext

    @classmethod
    def of(cls, settings: Settings) -> Draft:
        """Work it out."""
        return cls(
            settings=settings,
            rules=settings.limit_rules(),
            pricer=settings.pricer(),
            context=settings.plugin_context(),
        )


def serving(draft: Draft, kept: Kept) -> Serving:
    """Put a config to work, around what is kept. On the hub. Raises ConfigError if a plugin cannot start."""
    settings = draft.settings
    auth: Sequence[AuthPlugin] = ()
    routes: Sequence[ModelRoutePlugin] = ()
    try:
        auth = manager.auth_plugins(settings.plugins.auth, settings.auth, draft.context, checked=True)
        routes = manager.model_routes(settings.plugins.model_route, settings.model_route, draft.context, checked=True)
        kept.members.keep(draft.context.models.values())
    except ConfigError:
        _clean_up((*auth, *routes))
        raise
    line = Line(
        authenticate=Authenticate(auth, kept.floods),
        read=Read(seconds=settings.server.body_timeout, folder=settings.data_dir, offload=on_disk),
        route=Route(routes),
        balance=Balance(kept.members),
        prepare=kept.prepare,
        admit=Admit(kept.limiting.by(settings, draft.rules, draft.pricer) or Unlimited()),
        record=kept.record,
        estimator=kept.estimator,
        forward=kept.forward,
        watch=kept.watch,
    )
    return Serving(
        line=line,
        rules=draft.rules,
        max_body_bytes=settings.server.max_body_bytes,
        cleanup=partial(_clean_up, (*auth, *routes)),
    )


def bounds(settings: Settings) -> Bounds:
    """Tell the watch how long what may last."""
    server = settings.server
    return Bounds(
        max_streams=server.max_streams,
        body_timeout=server.body_timeout,
        client_stall_timeout=server.client_stall_timeout,
        on_client_gone=server.on_client_gone,
        half_close=server.half_close,
        drain_seconds=server.drain_seconds,
        drain_bytes=server.drain_bytes,
    )


def _clean_up(plugins: Sequence[Plugin]) -> None:
    """Have plugins close what they have opened; one that fails, or takes long, costs the others nothing."""
    for plugin in plugins:
        try:
            with gevent.Timeout(CLEANUP_SECONDS, TimeoutError):
                manager.clean_up(plugin)
        except Exception as error:  # whatever a stranger's plugin raises; its text may hold anything
            log.warning("plugin.cleanup_failed", plugin=type(plugin).__name__, kind=type(error).__name__)
