"""What `llm-one-api stats live` looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llm_one_api.cli.statistics.figures import count
from llm_one_api.cli.statistics.fitting import Column, fitted
from llm_one_api.cli.table import cell

_Member = tuple[str, Mapping[str, Any]]
"""A model's name, and one of its upstreams."""

_COLUMNS: Sequence[Column[_Member]] = (
    Column(head="MODEL", of=lambda member: cell(member[0]), is_text=True, least=12),
    Column(head="UPSTREAM", of=lambda member: cell(member[1]["name"]), is_text=True, least=12),
    Column(head="STATE", of=lambda member: cell(member[1]["state"]), is_text=True),
    Column(head="UNDER WAY", of=lambda member: count(member[1]["in_flight"])),
)


def drawn(page: Mapping[str, Any], width: int) -> RenderableType:
    """Show what `reporting/present.py` has laid out."""
    if not page["processes"]:
        return Text(
            "No gateway has told anything of late: none runs that uses this Redis (redis.url, redis.key_prefix)."
        )
    processes = page["processes"]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(justify="right")
    grid.add_row("Under way", count(page["in_flight"]))
    grid.add_row("Calls a second", f"{page['qps']:,.2f}")
    grid.add_row("Calls in the last minute", count(page["requests"]))
    grid.add_row("Waiting for room", count(page["waiting"]))
    upstreams = [(model["model"], one) for model in page["models"] for one in model["upstreams"]]
    of = Text(f"{count(processes)} gateway process{'' if processes == 1 else 'es'}, {page['at']}", style="dim")
    return Group(of, grid, Text(), fitted(_COLUMNS, upstreams, width))
