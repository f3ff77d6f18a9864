"""`create_app`: the one place that joins the serving parts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from flask import Flask
from flask.sessions import SessionInterface
from werkzeug.wrappers import Response

from llm_one_api import logs
from llm_one_api.gateway.admit import Admit, Limited, Unlimited
from llm_one_api.gateway.authenticate import Authenticate
from llm_one_api.gateway.counts import Counts
from llm_one_api.gateway.courier import PATIENCE, Courier
from llm_one_api.gateway.estimate import Estimator
from llm_one_api.gateway.floods import Floods
from llm_one_api.gateway.forward import Forward
from llm_one_api.gateway.leases import Leases
from llm_one_api.gateway.line import Line
from llm_one_api.gateway.local import Local
from llm_one_api.gateway.observed import Observed
from llm_one_api.gateway.plans import Plans
from llm_one_api.gateway.prepare import Prepare
from llm_one_api.gateway.read import Read
from llm_one_api.gateway.record import Record
from llm_one_api.gateway.route import Route
from llm_one_api.gateway.watch import Bounds, Watch
from llm_one_api.limits.windows import Calendar
from llm_one_api.plugins import manager, memory
from llm_one_api.pricing.rates import MOST
from llm_one_api.settings import Settings, load
from llm_one_api.stores.counters import connect
from llm_one_api.stores.journal.writer import Journal
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits.overview import Overview, Sets, look
from llm_one_api.stores.limits.store import LimitStore
from llm_one_api.targets import Target
from llm_one_api.values import Usage, UsageRecord
from llm_one_api.web import calls, door, errors, health, models, pipeline, stats, usage
from llm_one_api.web.house import House
from llm_one_api.web.lookout import Lookout
from llm_one_api.web.off_hub import on_disk
from llm_one_api.web.own_relay import LIFELINE
from llm_one_api.web.proxy import Proxy

_HEARD = {"transcriptions", "translations"}
_FEW = 2
"""Tokens: where so many have no cost, no price is known; where more have none, it may be too high for a cost."""


class NoSessions(SessionInterface):
    """The gateway keeps no sessions: not opening one saves its time on each call."""

    def open_session(self, app: Flask, request: object) -> None:
        """Open none."""

    def save_session(self, app: Flask, session: object, response: Response) -> None:
        """Save none."""


class Gateway(Flask):
    """The Flask application, with the housekeeping of its process."""

    session_interface = NoSessions()
    house: House
    proxy: Proxy

    def wsgi_app(self, environ: Any, start_response: Any) -> Any:
        """Hand calls of the proxied endpoints to the proxy, and all else to Flask."""
        if environ["PATH_INFO"].startswith("//"):  # Flask takes several slashes in front for one
            environ["PATH_INFO"] = "/" + environ["PATH_INFO"].lstrip("/")
        endpoint = self.proxy.takes(environ)
        if endpoint is not None:
            return self.proxy(endpoint, environ, start_response)
        return super().wsgi_app(environ, start_response)


def create_app(settings: Settings | None = None) -> Gateway:
    """Join everything up. Opens no connection and starts nothing: `app.house.start()` does, after the fork."""
    settings = settings or load(check=manager.check)
    logs.configure(settings.logging.level, settings.logging.format)
    context = settings.plugin_context()
    server = settings.server
    refuse_when_full = settings.journal.on_full == "refuse"

    watch = Watch(
        Bounds(
            max_streams=server.max_streams,
            body_timeout=server.body_timeout,
            client_stall_timeout=server.client_stall_timeout,
            on_client_gone=server.on_client_gone,
            half_close=server.half_close,
            drain_seconds=server.drain_seconds,
            drain_bytes=server.drain_bytes,
        )
    )
    journal = Journal(
        settings.journal_folder,
        segment_bytes=settings.journal.segment_bytes,
        segment_seconds=settings.journal.segment_seconds,
        fsync=settings.journal.fsync,
        offload=on_disk,
    )
    floods = Floods(per_minute=settings.rate_limit.failed_auth_per_minute, trusted_proxies=server.trusted_proxies)
    authenticate = Authenticate(manager.auth_plugins(settings.plugins.auth, settings.auth, context), floods)
    prepare = Prepare()
    forward = Forward(prepare.refused)
    estimator = Estimator()
    counts = Counts()
    limits = limited(settings)
    line = Line(
        authenticate=authenticate,
        read=Read(seconds=server.body_timeout, folder=settings.data_dir, offload=on_disk),
        route=Route(manager.model_routes(settings.plugins.model_route, settings.model_route, context)),
        prepare=prepare,
        admit=Admit(limits or Unlimited()),
        record=Record(journal, counts, refuse_when_full=refuse_when_full),
        estimator=estimator,
        forward=forward,
        watch=watch,
    )
    ledger = Ledger(settings.ledger.url, keep_connections=False)
    redis = connect(settings.redis_url)
    condition = health.Condition()
    are_whole = partial(_are_whole, settings, limits.courier) if limits else bool
    lookout = Lookout(
        journal,
        settings.journal_folder,
        max_bytes=settings.journal.max_bytes,
        set_aside=ledger.pipeline.set_aside,
        zone=settings.zone,
        limits=limits,
    )

    app = Gateway("llm_one_api", static_folder=None)
    app.url_map.merge_slashes = False  # else `//v1/models` is sent elsewhere, in HTML
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # no method answers without a key
    app.house = House(
        watch=watch,
        journal=journal,
        journal_folder=settings.journal_folder,
        sync_every=settings.journal.fsync_interval,
        condition=condition,
        lookout=lookout,
        refuse_when_full=refuse_when_full,
        probes={
            "ledger": lookout.look_at_ledger,
            "redis": partial(_ping, settings.redis_url),
            **({"limits": partial(lookout.look_at_limits, are_whole)} if limits else {}),
        },
        chores=[forward.close_idle],
        beginnings=[limits.start] if limits else [],
        endings=[counts.settle, estimator.stop, *([limits.stop] if limits else [])],
        draining_marker=settings.data_dir / "run" / "draining",
        lifeline=int(os.environ[LIFELINE]) if LIFELINE in os.environ else None,
    )
    door.register(app)
    errors.register(app)
    app.proxy = Proxy(line, max_body_bytes=server.max_body_bytes)
    app.proxy.tell(app)
    models.register(app, line)
    health.register(app, condition, authenticate, lambda: app.house.draining)
    memory_reader = partial(memory.read, redis, context.key_prefix) if "memory" in settings.plugins.stats else None
    stats.register(app, authenticate, ledger, settings.zone, memory_reader)
    calls.register(app, authenticate, ledger, settings.zone)
    usage.register(app, authenticate, line.route, settings.limit_rules(), settings.zone, partial(_look, settings))
    pipeline.register(
        app,
        authenticate,
        lookout,
        ledger.pipeline.whole,
        folder=settings.journal_folder,
        on_full=settings.journal.on_full,
    )
    return app


def limited(settings: Settings) -> Limited | None:
    """Join what decides on limits; None: there are none, and that costs nothing."""
    rules = settings.limit_rules()
    if rules.are_none:
        return None
    pricer = settings.pricer()
    courier = Courier(
        LimitStore(settings.redis_url, settings.redis.key_prefix, lease=settings.quota.lease, timeout=PATIENCE)
    )
    local = Local(settings.server.workers)
    calendar = Calendar(settings.zone)
    return Limited(
        Plans(rules, calendar),
        courier,
        Leases(courier, local, seconds=settings.quota.lease),
        local,
        calendar=calendar,
        observed=Observed(default=settings.quota.default_output_tokens),
        price=partial(_price, pricer.price),
        unpriced=settings.quota.unpriced,
        when_unavailable=settings.quota.when_unavailable,
    )


def _price(
    price: Callable[[UsageRecord], UsageRecord], target: Target, endpoint: str, own: int, out: int
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
    cost = price(record).cost
    if cost is None and own + out > _FEW and _price(price, target, endpoint, min(own, 1), min(out, 1)) is not None:
        return MOST  # its price is known, and it comes to more than any call's cost
    return cost


def _look(settings: Settings, sets: Sets) -> Overview:
    """Look up how limits stand, over a connection of its own."""
    with closing(LimitStore(settings.redis_url, settings.redis.key_prefix)) as store:
        return look(store, sets, Calendar(settings.zone), time.time())


def _are_whole(settings: Settings, courier: Courier) -> bool:
    """Ask the limit store whether limits can be relied on, over a connection of this thread alone.

    It may answer this and yet not calls: where it can write nothing, or takes longer than they may wait.
    """
    if courier.away_since is not None:
        return False
    with closing(LimitStore(settings.redis_url, settings.redis.key_prefix)) as store:
        return store.state() is not None or not settings.limit_rules().have_quotas


def _ping(url: str) -> None:
    """Ask Redis, over a connection of this thread alone: gevent's sockets belong to the hub that made them."""
    with connect(url) as client:
        client.ping()
