"""Asks the books, and lays out what they say: the same for pages and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from llm_one_api.reporting import layout
from llm_one_api.reporting.asking import Asking, Calls, Top
from llm_one_api.reporting.page import Page
from llm_one_api.reporting.ranking import ranked
from llm_one_api.reporting.reading import cursor_text
from llm_one_api.stores.ledger.analysis import Analysis, Question

MOST_ROWS = 20_000
"""Of one answer. More raises NotAnswerable."""


def usage(analysis: Analysis, question: Question, scope: str) -> Page:
    """Give sums."""
    columns = layout.columns(question.group_by, bucketed=question.bucket is not None)
    return Page(
        head=layout.usage_head(question, scope),
        rows=layout.with_nothing(analysis.ask(question, MOST_ROWS), question),
        fields=layout.of_rows(question),
        columns=columns,
        cells=layout.cells(columns),
    )


def top(analysis: Analysis, asked: Top, scope: str) -> Page:
    """Give a top list."""
    columns = layout.top_columns(asked.question.group_by)
    return Page(
        head=layout.top_head(asked, scope),
        rows=ranked(analysis, asked),
        fields=layout.of_ranking(asked.question),
        columns=columns,
        cells=layout.cells(columns),
    )


def peak_hours(analysis: Analysis, question: Question, scope: str) -> Page:
    """Give the hours of the week."""
    return Page(
        head=layout.peak_head(question, scope),
        rows=analysis.peak_hours(question),
        fields=layout.of_hour,
        columns=layout.HOUR_COLUMNS,
        cells=layout.cells(layout.HOUR_COLUMNS),
    )


def calls(analysis: Analysis, asked: Calls, scope: str) -> Page:
    """Give single calls."""
    records, behind = analysis.requests(
        where=asked.where,
        key=asked.key,
        before=asked.before,
        limit=asked.limit,
        since=asked.since,
        until=asked.until,
    )
    following = None if behind is None else cursor_text(behind)
    return Page(
        head=layout.head("requests", scope, asked.since, asked.until, asked.zone),
        called="requests",
        rows=records,
        fields=partial(layout.of_call, zone=asked.zone),
        columns=layout.CALL_COLUMNS,
        cells=layout.call_cells,
        tail={"next": following},
        behind=following,
    )


class Kind(NamedTuple):
    """A page of sums or calls: how what is asked for is read, and how it is answered."""

    read: Callable[[Asking], Any]
    answer: Callable[[Analysis, Any, str], Page]


PAGES: Mapping[str, Kind] = {
    "usage": Kind(Asking.usage, usage),
    "top": Kind(Asking.top, top),
    "peak-hours": Kind(Asking.peak_hours, peak_hours),
    "requests": Kind(Asking.calls, calls),
}
"""By name, in the web and in the terminal. `live` is not among them: it is read from the processes."""
