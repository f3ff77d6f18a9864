"""The conformance suite over a whole gateway of this tree: a test for each case."""

from __future__ import annotations

import pytest

from llm_one_api.conformance import report
from llm_one_api.conformance.case import Case, all_cases
from llm_one_api.conformance.run import Result


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_the_gateway_conforms(case: Case, results: dict[str, Result]) -> None:
    result = results[case.name]

    assert result.verdict == "PASS", f"{case.says}\n{report.line(result)}"
