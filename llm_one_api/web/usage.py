"""`GET /v1/usage`: the limits that hold for the caller's key, and how much of each is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from zoneinfo import ZoneInfo

import gevent
import structlog
from flask import Flask, Response, request

from llm_one_api.errors import LimitsUnavailable
from llm_one_api.stores.limits.overview import Overview, Sets, laid_out
from llm_one_api.values import NO_MODEL
from llm_one_api.web.current import Current
from llm_one_api.web.door import credentials
from llm_one_api.web.stats import say

log = structlog.get_logger()

PATIENCE = 1.0
"""Seconds that the limit store has to answer."""

Look = Callable[[Sets], Overview]
"""Ask the limit store how limits stand. Only the greenlet that asks waits, for its sockets are gevent's."""


def register(app: Flask, current: Current, zone: ZoneInfo, look: Look) -> None:
    """Add the route."""

    @app.get("/v1/usage")
    def usage() -> Response:
        line, rules = current.serving.line, current.serving.rules
        caller = line.authenticate(*credentials(request.environ))
        model = request.args.get("model")
        if model:
            line.route(caller, model)
        sets = [one for one in rules.of(caller, model or NO_MODEL) if model or not one[0].startswith("model:")]
        overview = _asked(look, sets) if sets else Overview(limits=(), whole=True)
        now = time.time()
        return say(
            {
                "object": "usage",
                "key": caller.key,
                "user": caller.user,
                "group": caller.group,
                "model": model or None,
                "exempt": caller.key in rules.exempt_keys or caller.user in rules.exempt_users,
                "timezone": zone.key,
                "counters_whole": overview.whole,
                "limits": [laid_out(limit, zone, now) for limit in overview.limits],
            }
        )


def _asked(look: Look, sets: Sets) -> Overview:
    try:
        with gevent.Timeout(PATIENCE, TimeoutError):
            return look(sets)
    except Exception as error:  # whatever the store's client raises
        log.warning("usage.limits_unavailable", kind=type(error).__name__)
        raise LimitsUnavailable("The limits cannot be looked up just now. Try again.", retry_after=1) from None
