"""Rows of tables become rows of an answer: slots become buckets, and counts become figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import add, neg, sub
from typing import Any

from llm_one_api.stores.buckets import quantiles
from llm_one_api.stores.ledger.analysis.answers import Quantiles, Row, Sums
from llm_one_api.stores.ledger.analysis.buckets import Places
from llm_one_api.stores.ledger.analysis.questions import NotAnswerable, Question
from llm_one_api.stores.ledger.analysis.reading import FIGURES, OUTCOMES, Found, FoundTimes, group_of
from llm_one_api.stores.ledger.sums import MILLION

Where = tuple[datetime | None, tuple[Any, ...]]
"""A bucket's begin, in UTC, and the values of a group."""
Counts = dict[Where, dict[str, dict[int, int]]]
"""How many calls took how long, by kind and by bucket of time taken."""

_OUTCOMES = [(name, FIGURES.index(name)) for name in sorted(OUTCOMES)]
_MICROS, _PICOS, _PRICED = (FIGURES.index(name) for name in ("cost_micros", "cost_picos", "priced"))
_STREAMS = FIGURES.index("streams")
_sums: Callable[..., Sums] = Sums
_NO_TIMES: dict[str, dict[int, int]] = {}
_LEFT_OVER = 3
"""Groups for each row, at most: of some all calls have been taken away, and are in the bucket beside, as a rule."""
_NEVER = datetime.min.replace(tzinfo=UTC)


def too_many(most: int) -> NotAnswerable:
    """Say that an answer has more than *most* rows."""
    return NotAnswerable(
        f"the answer has more than {most:,} rows; ask for a shorter time, larger buckets, or fewer groups"
    )


def fold(found: Iterable[Found], places: Places, into: dict[Where, Sequence[int]], most: int | None = None) -> None:
    """Add what was found to the buckets and groups that it belongs to. Raises where there will be more than *most*."""
    for slot, group, figures in found:
        for begin, sign in places(slot):
            where = (begin, tuple(group))
            before = into.get(where)
            if before is None:
                into[where] = figures if sign > 0 else list(map(neg, figures))
            else:
                into[where] = list(map(add if sign > 0 else sub, before, figures))
        if most is not None and len(into) > _LEFT_OVER * most:
            raise too_many(most)


def fold_times(found: Iterable[FoundTimes], places: Places, into: Counts) -> None:
    """Likewise for times."""
    for slot, group, kind, spread in found:
        for begin, sign in places(slot):
            kinds = into.setdefault((begin, tuple(group)), {})
            counts = kinds.get(kind)
            if counts is None:
                kinds[kind] = dict(spread) if sign > 0 else {bucket: -calls for bucket, calls in spread.items()}
                continue
            for bucket, calls in spread.items():
                counts[bucket] = counts.get(bucket, 0) + sign * calls


def rows(question: Question, sums: dict[Where, Sequence[int]], times: Counts) -> list[Row]:
    """Lay out what there is, by bucket, and the busiest first."""
    begins = {begin for begin, _ in sums if begin is not None}
    local = {begin: begin.astimezone(question.zone) for begin in begins}
    found = []
    for where, figures in sorted(sums.items(), key=_order):
        if figures[0]:
            begin, group = where
            spread = times.get(where, _NO_TIMES)
            found.append(
                Row(
                    bucket=None if begin is None else local[begin],
                    group=group_of(question.group_by, group),
                    sums=as_sums(figures),
                    duration=_quantiles(spread.get("duration")),
                    ttft=_quantiles(spread.get("ttft")),
                )
            )
    return found


def _order(item: tuple[Where, Sequence[int]]) -> tuple[Any, ...]:
    (begin, group), figures = item
    # A stretch without buckets has one begin: none.
    return (begin or _NEVER, -figures[0], group)


def as_sums(figures: Sequence[int]) -> Sums:
    """Name the figures."""
    outcomes = {name: figures[place] for name, place in _OUTCOMES if figures[place]}
    cost = Decimal(figures[_MICROS] * MILLION + figures[_PICOS]).scaleb(-12) if figures[_PRICED] else None
    return _sums(*figures[:_MICROS], streams=figures[_STREAMS], outcomes=outcomes, cost=cost)


def _quantiles(counts: dict[int, int] | None) -> Quantiles | None:
    found = quantiles(counts, (0.5, 0.95, 0.99)) if counts else None
    return None if found is None else Quantiles(p50=found[0], p95=found[1], p99=found[2])
