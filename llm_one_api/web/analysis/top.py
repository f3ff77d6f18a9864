"""`GET /v1/stats/top`: who uses most, which models are popular."""

from __future__ import annotations

from functools import partial

from flask import Flask, Response

from llm_one_api.reporting import answering
from llm_one_api.reporting.asking import Asking
from llm_one_api.stores.ledger.analysis import Analysis
from llm_one_api.web.analysis.desk import Desk


def register(app: Flask, desk: Desk, analysis: Analysis) -> None:
    """Add the route."""

    @app.get("/v1/stats/top")
    def stats_top() -> Response:
        asked = desk.asked()
        top = asked.read(Asking.top)
        return desk.answer("top", asked, partial(answering.top, analysis, top, asked.scope))
