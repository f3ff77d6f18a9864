"""`GET /v1/stats/requests`: the calls that were admitted last, page by page."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlencode

from flask import Flask, Response, request

from llm_one_api.reporting import layout
from llm_one_api.reporting.asking import Asking, Calls
from llm_one_api.reporting.reading import cursor_text
from llm_one_api.stores.ledger.analysis import Analysis
from llm_one_api.web.analysis.desk import Desk, Page


def register(app: Flask, desk: Desk, analysis: Analysis) -> None:
    """Add the route."""

    @app.get("/v1/stats/requests")
    def stats_requests() -> Response:
        asked = desk.asked()
        calls = asked.read(Asking.calls)
        given = [(name, value) for name, value in request.args.items(multi=True) if name != "before"]
        return desk.answer("requests", asked, partial(_page, analysis, calls, asked.scope, given))


def _page(analysis: Analysis, calls: Calls, scope: str, given: list[tuple[str, str]]) -> Page:
    records, behind = analysis.requests(
        where=calls.where,
        key=calls.key,
        before=calls.before,
        limit=calls.limit,
        since=calls.since,
        until=calls.until,
    )
    following = None if behind is None else cursor_text(behind)
    return Page(
        head=layout.head("requests", scope, calls.since, calls.until, calls.zone),
        rows=records,
        called="requests",
        fields=partial(layout.of_call, zone=calls.zone),
        columns=layout.CALL_COLUMNS,
        cells=layout.call_cells,
        tail={"next": following},
        links={} if following is None else {"next": "?" + urlencode([*given, ("before", following)])},
    )
