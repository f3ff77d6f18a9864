"""How figures of alerts are written for people."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llm_one_api.books.reports.alerts.wording import counted, shown


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("cost_per_day", "3.6630925715", "$3.6631"),
        ("cost_per_day", "200", "$200"),
        ("cost_per_hour", "0.000315", "$0.000315"),
        ("error_rate", "0.12346", "12.35 %"),
        ("avg_tokens", "30.81", "30.8"),
        ("upstream_down", "1", "down"),
        ("relay_lag", None, "unknown"),
    ],
)
def test_a_figure_is_as_exact_as_people_want_it(metric: str, value: str | None, words: str) -> None:
    assert shown(metric, None if value is None else Decimal(value)) == words


def test_one_call_is_no_calls() -> None:
    assert [counted(calls) for calls in (0, 1, 1234)] == ["0 calls", "1 call", "1,234 calls"]
