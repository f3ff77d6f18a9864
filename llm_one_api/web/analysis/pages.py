"""Joins the pages of the analysis."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from flask import Flask

from llm_one_api.stores.ledger.analysis import Analysis
from llm_one_api.web.analysis import live, peak_hours, requests, top, usage
from llm_one_api.web.analysis.desk import Desk
from llm_one_api.web.analysis.live import Hear
from llm_one_api.web.current import Authenticate


def register(app: Flask, authenticate: Authenticate, analysis: Analysis, zone: ZoneInfo, hear: Hear) -> None:
    """Add the routes."""
    desk = Desk(authenticate, zone)
    for page in (usage, top, peak_hours, requests):
        page.register(app, desk, analysis)
    live.register(app, desk, hear)
