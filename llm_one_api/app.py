"""`create_app`: the one place that joins the serving parts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from flask import Flask
from flask.sessions import SessionInterface
from werkzeug.wrappers import Response

from llm_one_api import logs
from llm_one_api.books.overdue import overdue
from llm_one_api.plugins import manager, memory
from llm_one_api.renewing import Renewal
from llm_one_api.serving import Draft, Kept, serving
from llm_one_api.settings import Settings, load
from llm_one_api.settings.applying import GATEWAY
from llm_one_api.stores.counters import connect
from llm_one_api.stores.gateways import GatewayStore
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.upstreams import UpstreamStore
from llm_one_api.stores.upstreams.messages import Told
from llm_one_api.timetable import planned
from llm_one_api.web import balancers, calls, door, errors, health, models, pipeline, stats, usage
from llm_one_api.web.analysis import pages as analysis
from llm_one_api.web.current import Current
from llm_one_api.web.house import House
from llm_one_api.web.lookout import Lookout
from llm_one_api.web.openapi import document as openapi
from llm_one_api.web.own_relay import LIFELINE
from llm_one_api.web.proxy import Proxy
from llm_one_api.web.reloading import Reloading
from llm_one_api.web.telling import Telling


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


def read_config() -> Settings:
    """Read the config, and check the plugins' part of it too. Raises ConfigError."""
    manager.look_again()
    return load(check=manager.check)


def create_app(read: Callable[[], Settings] = read_config) -> Gateway:
    """Join everything up. Opens no connection and starts nothing: `app.house.start()` does, after the fork."""
    began = time.time_ns()
    settings = read()
    logs.configure(settings.logging.level, settings.logging.format)
    kept = Kept(settings)
    current = Current(serving(Draft.of(settings), kept))
    run = settings.data_dir / "run"
    renewal = Renewal(read, settings, kept, current)
    reloading = Reloading(
        run,
        GATEWAY,
        renewal,
        since=began,
        stopping=lambda: kept.watch.draining,
    )

    ledger = Ledger(settings.ledger.url, keep_connections=False)
    redis = connect(settings.redis_url)
    condition = health.Condition()
    limiting = kept.limiting
    lookout = Lookout(
        kept.journal,
        settings.journal_folder,
        max_bytes=settings.journal.max_bytes,
        set_aside=ledger.pipeline.set_aside,
        zone=settings.zone,
        limits=lambda: None if current.serving.rules.are_none else limiting,
        overdue=lambda: overdue(ledger.job_runs, planned(renewal.running), settings.zone, since=renewal.since),
    )

    telling = Telling(
        GatewayStore(settings.redis_url, settings.redis.key_prefix),
        lambda: {
            "auth_failures invalid_key": kept.floods.failed,
            "auth_failures flood": kept.floods.turned_away,
            "unlimited_requests": limiting.without,
        },
        lookout,
        settings.journal_folder,
    )

    app = Gateway("llm_one_api", static_folder=None)
    app.url_map.merge_slashes = False  # else `//v1/models` is sent elsewhere, in HTML
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # no method answers without a key
    app.house = House(
        watch=kept.watch,
        journal=kept.journal,
        journal_folder=settings.journal_folder,
        sync_every=settings.journal.fsync_interval,
        condition=condition,
        lookout=lookout,
        refuse_when_full=kept.refuse_when_full,
        probes={
            "ledger": lookout.look_at_ledger,
            "redis": partial(_ping, settings.redis_url),
            "limits": lambda: lookout.look_at_limits(lambda: limiting.are_whole(current.serving.rules)),
        },
        chores=[kept.pools.close_idle, kept.members.forget],
        beginnings=[limiting.start, kept.sharing.start, kept.probing.start, telling.start, reloading.start],
        endings=[
            reloading.stop,
            telling.stop,
            kept.probing.stop,
            kept.counts.settle,
            kept.estimator.stop,
            limiting.stop,
            kept.sharing.stop,
            current.cleanup,
        ],
        draining_marker=run / "draining",
        lifeline=int(os.environ[LIFELINE]) if LIFELINE in os.environ else None,
    )
    door.register(app)
    errors.register(app)
    app.proxy = Proxy(current)
    app.proxy.tell(app)
    models.register(app, current)
    health.register(app, condition, current.authenticate, lambda: app.house.draining)
    key_prefix = settings.redis.key_prefix
    memory_reader = partial(memory.read, redis, key_prefix) if "memory" in settings.plugins.stats else None
    stats.register(app, current.authenticate, ledger, settings.zone, memory_reader)
    calls.register(app, current.authenticate, ledger, settings.zone)
    read_upstreams = partial(_upstreams, settings.redis_url, key_prefix)
    balancers.register(app, current.authenticate, kept.sharing, read_upstreams, settings.zone)
    hear = partial(balancers.told_by, kept.sharing, read_upstreams)
    analysis.register(app, current.authenticate, ledger.analysis, settings.zone, hear)
    openapi.register(app, current.authenticate)
    usage.register(app, current, settings.zone, limiting.look)
    pipeline.register(
        app,
        current.authenticate,
        lookout,
        ledger.pipeline.whole,
        folder=settings.journal_folder,
        on_full=settings.journal.on_full,
    )
    return app


def _upstreams(url: str, key_prefix: str) -> Told:
    """Read what all processes tell of upstreams, over a connection of its own."""
    with closing(UpstreamStore(url, key_prefix)) as store:
        return store.read()


def _ping(url: str) -> None:
    """Ask Redis, over a connection of this thread alone: gevent's sockets belong to the hub that made them."""
    with connect(url) as client:
        client.ping()
