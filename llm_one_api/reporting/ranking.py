"""Who is on top, with each one's share of all."""

from __future__ import annotations

from collections.abc import Sequence

from llm_one_api.reporting.asking import Top
from llm_one_api.stores.ledger.analysis import Analysis, Row
from llm_one_api.values import Value


class Ranked(Value, frozen=True, kw_only=True):
    """One of those on top."""

    rank: int
    """From 1."""
    share: float | None
    """Of all that was asked for, by what the list goes by; None: all together have none."""
    row: Row


def ranked(analysis: Analysis, top: Top) -> Sequence[Ranked]:
    """Ask who is on top."""
    found = analysis.top(top.question, top.by, top.limit)
    return [
        Ranked(rank=number, share=None if share is None else round(float(share), 6), row=row)
        for number, (row, share) in enumerate(found, 1)
    ]
