"""`docs/conformance.md` knows all themes, and its example is a case."""

from __future__ import annotations

import inspect
import re

from llm_one_api.conformance.case import all_cases
from llm_one_api.conformance.cases import usage_streams
from tests.harness.processes import ROOT

PAGE = (ROOT / "docs/conformance.md").read_text()


def test_every_theme_is_in_the_table_with_its_file() -> None:
    themes = {(case.name.partition("/")[0], case.play.__module__.rpartition(".")[2]) for case in all_cases()}
    listed = set(re.findall(r"^\| `([\w-]+)/` \| `(\w+)\.py` \|", PAGE, re.MULTILINE))

    assert listed == themes


def test_the_example_is_the_case_of_that_name() -> None:
    shown = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)

    assert shown is not None
    assert shown[1] == inspect.getsource(usage_streams.usage_after_finish)
