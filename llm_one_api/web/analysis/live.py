"""`GET /v1/stats/live`: what is under way now, and how many calls came in the last minute, over all processes."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response

from llm_one_api.reporting import present
from llm_one_api.reporting.asking import Asking
from llm_one_api.stores.upstreams.messages import Told
from llm_one_api.web.analysis.desk import Desk, respond

Hear = Callable[[], tuple[Told, bool]]
"""Give what all processes tell; or what this one knows, and True."""


def register(app: Flask, desk: Desk, hear: Hear) -> None:
    """Add the route."""

    @app.get("/v1/stats/live")
    def stats_live() -> Response:
        asked = desk.asked()
        zone = asked.read(Asking.live)
        told, is_alone = hear()
        page = present.of_told(told, zone, key=asked.asking.key, alone=is_alone)
        return respond("live", present.written(page, as_csv=asked.wants_csv), as_csv=asked.wants_csv)
