"""`GET /v1/stats/usage`: sums of calls, by stretches of time and by what tells calls apart."""

from __future__ import annotations

from functools import partial

from flask import Flask, Response

from llm_one_api.reporting import layout
from llm_one_api.reporting.asking import Asking
from llm_one_api.stores.ledger.analysis import Analysis
from llm_one_api.web.analysis.desk import MOST_ROWS, Desk, Page


def register(app: Flask, desk: Desk, analysis: Analysis) -> None:
    """Add the route."""

    @app.get("/v1/stats/usage")
    def stats_usage() -> Response:
        asked = desk.asked()
        question = asked.read(Asking.usage)
        columns = layout.columns(question.group_by, bucketed=question.bucket is not None)
        return desk.answer(
            "usage",
            asked,
            lambda: Page(
                head=layout.usage_head(question, asked.scope),
                rows=layout.with_nothing(analysis.ask(question, MOST_ROWS), question),
                fields=partial(layout.of_row, question=question),
                columns=columns,
                cells=partial(layout.cells, names=columns),
            ),
        )
