"""USD as they are counted: whole numbers of 1e-9 USD ("nanos"), for sums of them are exact everywhere."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal

_PLACES = 9
NANOS = 10**_PLACES
"""Of a USD."""

_exact = Context(prec=300, rounding=ROUND_CEILING)


def nanos_of(cost: Decimal | None) -> int:
    """Give USD as 1e-9 USD, rounded up; 0: none is known."""
    return 0 if cost is None else math.ceil(_exact.scaleb(cost, _PLACES))


def plain(amount: int, kind: str) -> str:
    """Write an amount of *kind*: those of a `cost` as USD, without an exponent and without zeros at the end."""
    if kind != "cost":
        return str(amount)
    text = format(Decimal(amount) / NANOS, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
