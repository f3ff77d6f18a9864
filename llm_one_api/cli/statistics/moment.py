"""What `llm-one-api stats live` looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llm_one_api.cli.statistics.figures import count
from llm_one_api.cli.table import cell


def drawn(page: Mapping[str, Any]) -> RenderableType:
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
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", safe_box=True)
    for head in ("MODEL", "UPSTREAM", "STATE"):
        table.add_column(head)
    table.add_column("UNDER WAY", justify="right")
    for model in page["models"]:
        for one in model["upstreams"]:
            row = (model["model"], one["name"], one["state"])
            table.add_row(*[Text(cell(text)) for text in row], count(one["in_flight"]))
    of = Text(f"{count(processes)} gateway process{'' if processes == 1 else 'es'}, {page['at']}", style="dim")
    return Group(of, grid, table)
