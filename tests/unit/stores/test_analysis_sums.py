"""Figures as they are read become sums with names."""

from __future__ import annotations

from decimal import Decimal

from llm_one_api.stores.ledger.analysis.answers import Sums
from llm_one_api.stores.ledger.analysis.folding import as_sums
from llm_one_api.stores.ledger.analysis.reading import FIGURES
from llm_one_api.stores.ledger.rollup_tables import ROLLUP_COUNTS


def test_each_figure_gets_its_own_name() -> None:
    figures = {name: number for number, name in enumerate(FIGURES, 1)}

    sums = as_sums(list(figures.values()))

    plain = [name for name in ROLLUP_COUNTS if not name.startswith("cost_")]
    assert {name: getattr(sums, name) for name in plain} == {name: figures[name] for name in plain}
    assert sums.streams == figures["streams"]
    assert sums.outcomes == {name: figures[name] for name in FIGURES[len(ROLLUP_COUNTS) + 1 :]}
    assert sums.cost == Decimal(figures["cost_micros"]) / 10**6 + Decimal(figures["cost_picos"]) / 10**12


def test_what_there_was_not_has_no_outcome_and_no_cost() -> None:
    assert as_sums([0] * len(FIGURES)) == Sums()
