"""How numbers are written for people; `--json` and `--csv` have them exactly."""

from __future__ import annotations

from decimal import Decimal

UNKNOWN = "-"


def count(number: int) -> str:
    """Write a count."""
    return f"{number:,}"


def share(part: float | None) -> str:
    """Write a part of a whole."""
    return UNKNOWN if part is None else f"{part:.1%}"


def seconds(time: float | None) -> str:
    """Write a time."""
    return UNKNOWN if time is None else f"{time:,.3f}"


def number(figure: float | None) -> str:
    """Write a figure of which the first digits matter."""
    return UNKNOWN if figure is None else f"{figure:,.1f}"


def money(amount: Decimal | None) -> str:
    """Write USD: to the cent from a dollar on, and where it is nothing; else so that something is seen of it."""
    if amount is None:
        return UNKNOWN
    return f"${amount:,.2f}" if abs(amount) >= 1 or not amount else f"${amount:,.6f}"
