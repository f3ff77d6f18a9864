"""`GET /v1/stats/requests`: the calls that were admitted last, page by page."""

from __future__ import annotations

from functools import partial

from flask import Flask, Response

from llm_one_api.reporting import answering
from llm_one_api.reporting.asking import Asking
from llm_one_api.stores.ledger.analysis import Analysis
from llm_one_api.web.analysis.desk import Desk


def register(app: Flask, desk: Desk, analysis: Analysis) -> None:
    """Add the route."""

    @app.get("/v1/stats/requests")
    def stats_requests() -> Response:
        asked = desk.asked()
        calls = asked.read(Asking.calls)
        return desk.answer("requests", asked, partial(answering.calls, analysis, calls, asked.scope))
