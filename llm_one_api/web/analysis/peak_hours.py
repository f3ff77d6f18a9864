"""`GET /v1/stats/peak-hours`: in which hours of the week calls come."""

from __future__ import annotations

from functools import partial

from flask import Flask, Response

from llm_one_api.reporting import answering
from llm_one_api.reporting.asking import Asking
from llm_one_api.stores.ledger.analysis import Analysis
from llm_one_api.web.analysis.desk import Desk


def register(app: Flask, desk: Desk, analysis: Analysis) -> None:
    """Add the route."""

    @app.get("/v1/stats/peak-hours")
    def stats_peak_hours() -> Response:
        asked = desk.asked()
        question = asked.read(Asking.peak_hours)
        return desk.answer("peak-hours", asked, partial(answering.peak_hours, analysis, question, asked.scope))
