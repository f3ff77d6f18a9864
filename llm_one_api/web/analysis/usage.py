"""`GET /v1/stats/usage`: sums of calls, by stretches of time and by what tells calls apart."""

from __future__ import annotations

from functools import partial

from flask import Flask, Response

from llm_one_api.reporting import answering
from llm_one_api.reporting.asking import Asking
from llm_one_api.stores.ledger.analysis import Analysis
from llm_one_api.web.analysis.desk import Desk


def register(app: Flask, desk: Desk, analysis: Analysis) -> None:
    """Add the route."""

    @app.get("/v1/stats/usage")
    def stats_usage() -> Response:
        asked = desk.asked()
        question = asked.read(Asking.usage)
        return desk.answer("usage", asked, partial(answering.usage, analysis, question, asked.scope))
