"""Who is on top, with each one's share of all."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from llm_one_api.reporting.asking import Top
from llm_one_api.stores.ledger.analysis import Analysis, Rank, Row, Sums
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
    rows = analysis.top(top.question, top.by, top.limit)
    everything = msgspec.structs.replace(top.question, group_by=(), percentiles=False)
    total = sum(_amount(row.sums, top.by) for row in analysis.ask(everything))
    return [
        Ranked(rank=number, share=round(float(_amount(row.sums, top.by) / total), 6) if total else None, row=row)
        for number, row in enumerate(rows, 1)
    ]


def _amount(sums: Sums, by: Rank) -> Decimal:
    amounts = {
        "requests": sums.requests,
        "tokens": sums.total_tokens,
        "cost": sums.cost or 0,
        "errors": sums.failed,
    }
    return Decimal(amounts[by])
