"""Sparklines, bars and shades: figures as marks, also where a terminal has no colours or knows ASCII only."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text

_SPARKS, _ASCII_SPARKS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
_SHADES, _ASCII_SHADES = " ░▒▓█", " .+*#"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL = "█"
_COLD, _HOT = (40, 60, 110), (250, 120, 60)


def sparkline(figures: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """Draw *figures*, the highest as a whole block; neighbours are added up where there are more than *width*."""
    marks = _ASCII_SPARKS if ascii_only else _SPARKS
    columns = _squeezed(figures, width)
    highest = max(columns, default=0)
    if not highest:
        return marks[0] * len(columns)
    # What is there is seen: the lowest mark is for nothing.
    return "".join(
        [marks[max(1, round(figure / highest * (len(marks) - 1)))] if figure else marks[0] for figure in columns]
    )


def bar(part: float | None, width: int, *, ascii_only: bool = False) -> str:
    """Draw a part of a whole."""
    eighths = round(min(1.0, max(0.0, part or 0.0)) * width * 8)
    whole, rest = divmod(eighths, 8)
    if ascii_only:
        return "#" * (whole + (rest > 4))  # noqa: PLR2004 (half a cell)
    return _FULL * whole + _EIGHTHS[rest].strip()


def shade(figure: float, highest: float, width: int, *, ascii_only: bool = False) -> Text:
    """Draw a cell of a heat map, *width* characters wide: by its shade, and where there are colours by its colour."""
    shades = _ASCII_SHADES if ascii_only else _SHADES
    if not figure or not highest:
        return Text(shades[0] * width)
    warmth = figure / highest
    mark = shades[max(1, round(warmth * (len(shades) - 1)))]
    red, green, blue = (round(cold + (hot - cold) * warmth) for cold, hot in zip(_COLD, _HOT, strict=True))
    return Text(mark * width, style=Style(color=f"rgb({red},{green},{blue})"))


def _squeezed(figures: Sequence[float], width: int) -> list[float]:
    if len(figures) <= width:
        return list(figures)
    each = -(-len(figures) // width)
    return [sum(figures[at : at + each]) for at in range(0, len(figures), each)]
