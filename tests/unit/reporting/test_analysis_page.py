"""`docs/analysis.md` has every page, parameter and figure, and no other figure."""

from __future__ import annotations

import re

import pytest

from llm_one_api.reporting import answering, layout, parameters, present
from llm_one_api.web.openapi.analysis import PATHS
from tests.harness.processes import ROOT

PAGE = (ROOT / "docs/analysis.md").read_text()
TOLD = {name for field in layout.FIELDS for name in (field.name,)} | set(layout.TIMES)


def table(heading: str) -> set[str]:
    """Give the names in the first column of the table under *heading*."""
    rows = re.findall(r"^\| (.*?) \|", PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)
    return set(re.findall(r"`(\w+)`", " ".join(rows)))


def test_every_figure_is_on_it_and_no_other() -> None:
    assert table("What is told") == TOLD


def test_every_parameter_is_on_it_and_no_other() -> None:
    lists = (parameters.USAGE, parameters.TOP_LIST, parameters.PEAK_HOURS, parameters.REQUESTS, parameters.LIVE)

    assert table("What can be asked") == {each.name for some in lists for each in some}


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_on_it(path: str) -> None:
    assert f"| `{path}` |" in PAGE


def test_what_live_tells_is_on_it() -> None:
    assert all(f"`{name}`" in PAGE for name in present.COLUMNS if name not in {"at", "scope"})


def test_its_bounds_are_those_of_the_code() -> None:
    assert f"more than {answering.MOST_ROWS:,} rows" in PAGE
    assert f"how many (up to {parameters.MOST_TOP})" in PAGE
    assert f"how many (up to {parameters.MOST_CALLS})" in PAGE
    assert f"{parameters.TOP} of them" in PAGE
    assert f"the newest {parameters.CALLS} of all" in PAGE
