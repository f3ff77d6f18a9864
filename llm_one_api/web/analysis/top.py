"""`GET /v1/stats/top`: who uses most, which models are popular."""

from __future__ import annotations

from functools import partial

from flask import Flask, Response

from llm_one_api.reporting import layout
from llm_one_api.reporting.asking import Asking
from llm_one_api.reporting.ranking import ranked
from llm_one_api.stores.ledger.analysis import Analysis
from llm_one_api.web.analysis.desk import Desk, Page


def register(app: Flask, desk: Desk, analysis: Analysis) -> None:
    """Add the route."""

    @app.get("/v1/stats/top")
    def stats_top() -> Response:
        asked = desk.asked()
        top = asked.read(Asking.top)
        columns = layout.top_columns(top.question.group_by)
        return desk.answer(
            "top",
            asked,
            lambda: Page(
                head=layout.top_head(top, asked.scope),
                rows=ranked(analysis, top),
                fields=partial(layout.of_ranked, question=top.question),
                columns=columns,
                cells=partial(layout.cells, names=columns),
            ),
        )
