"""The pages of the analysis: a route for each kind of question to the books, and one for the present moment."""

from __future__ import annotations

from functools import partial
from zoneinfo import ZoneInfo

from flask import Flask, Response

from llm_one_api.reporting import answering
from llm_one_api.reporting.answering import Kind
from llm_one_api.stores.ledger.analysis import Analysis
from llm_one_api.web.analysis import live
from llm_one_api.web.analysis.desk import Desk
from llm_one_api.web.analysis.live import Hear
from llm_one_api.web.current import Authenticate


def register(app: Flask, authenticate: Authenticate, analysis: Analysis, zone: ZoneInfo, hear: Hear) -> None:
    """Add the routes."""
    desk = Desk(authenticate, zone)
    for name, kind in answering.PAGES.items():
        app.add_url_rule(f"/v1/stats/{name}", f"stats.{name}", partial(_answer, desk, analysis, name, kind))
    live.register(app, desk, hear)


def _answer(desk: Desk, analysis: Analysis, name: str, kind: Kind) -> Response:
    asked = desk.asked()
    return desk.answer(name, asked, partial(kind.answer, analysis, asked.read(kind.read), asked.scope))
