"""Tables of `llm-one-api stats` fit terminals: figures are never cut, and what is left out is said."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console, RenderableType

from llm_one_api.cli.statistics import showing, tables
from llm_one_api.cli.statistics.fitting import Column, fitted
from llm_one_api.cli.statistics.showing import Canvas
from llm_one_api.reporting.asking import Asking
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.records import record

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Line(NamedTuple):
    name: str
    calls: str
    cost: str


LINES = [Line("gpt-4o-2024-08-06", "1,234,567", "$12,345.67"), Line("模型", "2", "-")]
COLUMNS: list[Column[Line]] = [
    Column(head="MODEL", of=lambda line: line.name, is_text=True, least=8),
    Column(head="CALLS", of=lambda line: line.calls),
    Column(head="COST", of=lambda line: line.cost, leave=1),
]


def drawn(what: RenderableType, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(what)
    return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


def test_with_room_all_is_shown() -> None:
    assert drawn(fitted(COLUMNS, LINES, 80), 80) == [
        "MODEL                  CALLS        COST",
        "─" * 40,
        "gpt-4o-2024-08-06  1,234,567  $12,345.67",
        "模型                       2           -",
    ]


def test_with_less_names_are_cut() -> None:
    assert drawn(fitted(COLUMNS, LINES, 31), 31)[2] == "gpt-4o-…  1,234,567  $12,345.67"


def test_with_still_less_what_matters_least_is_left_out_and_said() -> None:
    shown = drawn(fitted(COLUMNS, LINES, 30), 30)

    assert shown[2] == "gpt-4o-2024-08-06  1,234,567"
    assert " ".join(" ".join(shown[4:]).split()) == "No room for COST: --json and --csv have them."


@pytest.mark.parametrize("width", [60, 80, 100, 120, 400])
def test_no_figure_of_a_call_is_cut_whatever_the_width(width: int) -> None:
    calls = [record(n, at=AT + n * timedelta(minutes=1), model="a-model-with-a-long-name" * n) for n in (1, 2)]

    shown = drawn(tables.of_calls(calls, ZoneInfo("UTC"), width), width)

    assert max(map(len, shown)) <= width
    head, _, first, *_ = shown
    assert first.startswith("2026-11-24 12:01:00  a-model")
    for name, figure in (("INPUT", "50"), ("SECONDS", "2.500"), ("ID", calls[0].request_id)):
        assert (f" {figure}" in first) == (f" {name}" in head)
    assert ("No room for" in "".join(shown)) == (width < 400)


@pytest.mark.parametrize(("width", "hour"), [(60, "█"), (80, "██"), (100, "███")])
def test_a_week_fits_too(ledger: Ledger, width: int, hour: str) -> None:
    ledger.ingest([record(1, at=datetime(2026, 11, 22, 23, 5, tzinfo=UTC))])  # a Sunday

    asked = Asking({}, ZoneInfo("UTC"), now=AT).peak_hours()
    shown = drawn(showing.peak_hours(ledger.analysis, asked, Canvas(width, ascii_only=False)), width)

    assert shown[-2].split() == ["Sun", hour, "1"]
    assert shown[-2].index(hour) == 4 + 23 * len(hour)
    assert max(map(len, shown)) <= width
