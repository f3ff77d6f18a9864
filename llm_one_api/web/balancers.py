"""`GET /v1/stats/load_balancers` and `/v1/stats/models/{model}`: how upstreams do. For administrators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import gevent
from flask import Flask, Response, request

from llm_one_api.errors import UnknownModel
from llm_one_api.gateway.upstreams.sharing import Sharing
from llm_one_api.stores.upstreams.messages import Told
from llm_one_api.stores.upstreams.overview import WINDOW, Overview, laid_out, local, look
from llm_one_api.web.current import Authenticate
from llm_one_api.web.door import credentials
from llm_one_api.web.pipeline import ForAdministrators
from llm_one_api.web.stats import say

PATIENCE = 1.0
"""Seconds that Redis has to answer; else the page shows what this process knows."""

Read = Callable[[], Told]
"""Read what all processes have told. Only the greenlet that asks waits, for its sockets are gevent's."""


def register(app: Flask, authenticate: Authenticate, sharing: Sharing, read: Read, zone: ZoneInfo) -> None:
    """Add both routes."""

    @app.get("/v1/stats/load_balancers")
    def load_balancers() -> Response:
        _for_administrators(authenticate)
        told, is_alone = told_by(sharing, read)
        overview = look(told, between=_breathe)
        models = [laid_out(model, zone) for model in overview.models]
        return say({"object": "load_balancers", **_head(told, overview, zone, alone=is_alone), "models": models})

    @app.get("/v1/stats/models/<path:model>")
    def model_stats(model: str) -> Response:
        _for_administrators(authenticate)
        told, is_alone = told_by(sharing, read)
        overview = look(told, model=model, between=_breathe)
        if not overview.models:
            raise UnknownModel("There is no such model, or no call was routed to it yet.")
        head = _head(told, overview, zone, alone=is_alone)
        return say({"object": "load_balancer", **head, **laid_out(overview.models[0], zone)})


def _for_administrators(authenticate: Authenticate) -> None:
    if not authenticate(*credentials(request.environ)).admin:
        raise ForAdministrators("This page is for keys with `admin: true`.", code="admin_only")


def told_by(sharing: Sharing, read: Read) -> tuple[Told, bool]:
    """Give what all processes tell; or what this one knows, and True, if the others cannot be heard."""
    if not sharing.is_alone:
        try:
            with gevent.Timeout(PATIENCE, TimeoutError):
                return sharing.with_own(read()), False
        except Exception:  # whatever the store's client raises; the page says so, and the sharing logs it
            return sharing.own(), True
    return sharing.own(), True


def _head(told: Told, overview: Overview, zone: ZoneInfo, *, alone: bool) -> dict[str, Any]:
    return {
        "at": local(told.now / 10**6, zone),
        "window": WINDOW,
        "processes": overview.processes,
        "alone": alone,
    }


def _breathe() -> None:
    """Let others on the hub have their turn."""
    gevent.sleep(0)
