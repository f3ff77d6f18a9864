"""The house style, as far as a machine can see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.processes import ROOT

CODE = ("llm_one_api", "workers", "config", "benchmarks", "examples")
MOST_LINES, MOST_TEST_LINES = 300, 500
"""A file of tests is a list, which is read one by one: it may be longer."""
LONGER: dict[str, str] = {}
"""Files beyond it, with the reason. There is none."""
VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "base", "misc"}
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
TRAVEL = (ROOT / "docs/how-a-request-travels.md").read_text()


def sources(*folders: str) -> Iterator[Path]:
    yield ROOT / "wsgi.py"
    for folder in folders:
        yield from (path for path in (ROOT / folder).rglob("*.py") if ".venv" not in path.parts)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_is_longer_than_a_file_should_be() -> None:
    long = {name(path) for path in sources(*CODE) if lines(path) > MOST_LINES}
    long |= {name(path) for path in sources("tests") if lines(path) > MOST_TEST_LINES}

    assert long - set(LONGER) == set(), "split it, or name it in LONGER with a reason"


def test_each_exception_is_needed_and_has_its_reason() -> None:
    short = [
        file for file in LONGER if lines(ROOT / file) <= (MOST_TEST_LINES if file.startswith("tests/") else MOST_LINES)
    ]

    assert short == [], "short enough by now: take it out of LONGER"
    assert all(LONGER.values())


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [name(path) for path in sources(*CODE, "tests") if VAGUE & {path.stem, path.parent.name}]

    assert vague == []


def test_every_file_named_on_the_page_of_the_way_is_there() -> None:
    named = set(re.findall(r"`((?:llm_one_api|workers)/[\w/.]*)`", TRAVEL))

    assert {path for path in named if not (ROOT / path).exists()} == set()
    assert "llm_one_api/gateway/line.py" in named


def test_every_stage_of_the_line_is_on_that_page() -> None:
    stages = {f"llm_one_api/gateway/{path.name}" for path in (ROOT / "llm_one_api/gateway").glob("*.py")}
    beside = {"__init__.py", "reply.py"}

    assert {stage for stage in stages if f"`{stage}`" not in TRAVEL and Path(stage).name not in beside} == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    astray = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        found = (page.parent / path) if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            astray.append(target)

    assert astray == []


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs/decisions"
    listed = re.findall(r"\[(\d{4})\]\(([\w.-]+)\) \| (.*) \|", (folder / "README.md").read_text())
    pages = {path.name: path.read_text().splitlines()[0] for path in folder.glob("[0-9]*.md")}

    assert {file: f"# {number}: {title}" for number, file, title in listed} == pages


def anchors(page: Path) -> set[str]:
    """Name the headings of *page* as links do."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
