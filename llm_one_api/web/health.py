"""`/health/live` and `/health/ready`: whether to restart us, and whether to send us calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from flask import Flask, Response, request

from llm_one_api.errors import InvalidKey, RateLimited
from llm_one_api.web.current import Authenticate
from llm_one_api.web.door import credentials
from llm_one_api.web.errors import unexpected
from llm_one_api.web.lookout import Figures


class Condition:
    """What the housekeeping last found: read by `/health/ready`, so that asking costs nothing."""

    def __init__(self) -> None:
        """Not ready before the first look."""
        self.not_ready: str | None = "starting"
        """Why no call should be sent here: starting, draining or journal_full."""
        self.missing: list[str] = []
        """What is away without stopping calls: redis, ledger, relay."""
        self.because: list[str] = []
        """What else somebody has to look at."""
        self.figures = Figures()


def register(app: Flask, condition: Condition, authenticate: Authenticate, draining: Callable[[], bool]) -> None:
    """Add both routes."""

    @app.get("/health/live")
    def live() -> Response:
        return _say(200, {"status": "ok"})

    @app.get("/health/ready")
    def ready() -> Response:
        not_ready = "draining" if draining() else condition.not_ready
        if not_ready:
            return _say(503, {"status": not_ready})
        body: dict[str, Any] = {"status": "degraded" if condition.missing or condition.because else "ok"}
        key, peer = credentials(request.environ)
        if not key:  # a load balancer's question, of which there may be many
            return _say(200, body)
        try:  # what is missing, and how much of what there is, is told to those with a key only
            authenticate(key, peer)
        except (InvalidKey, RateLimited):
            pass
        except Exception as error:  # an auth plugin's: who has a key cannot be told, but we are ready
            unexpected(error)
        else:
            body |= {"missing": condition.missing, "because": condition.because}
            body |= msgspec.to_builtins(condition.figures)
        return _say(200, body)


def _say(status: int, body: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(body), status=status, content_type="application/json")
