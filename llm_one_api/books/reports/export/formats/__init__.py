"""The formats that a day's calls are written in: one file a format, and a row in the table.

Each writes to a sink page by page, the same bytes for the same calls, and holds on to a bounded part of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from llm_one_api.books.reports.export.formats.focus import Focus
from llm_one_api.books.reports.export.formats.format import Format
from llm_one_api.books.reports.export.formats.json import Json
from llm_one_api.books.reports.export.formats.lines import JsonLines
from llm_one_api.books.reports.export.formats.parquet import Parquet
from llm_one_api.books.reports.export.formats.sheet import Sheet

FORMATS: Mapping[str, Format] = {
    "json": Format(stem="records", suffix="json", open=Json),
    "jsonl": Format(stem="records", suffix="jsonl", open=JsonLines),
    "csv": Format(stem="records", suffix="csv", open=Sheet),
    "parquet": Format(stem="records", suffix="parquet", open=Parquet),
    "focus": Format(stem="focus", suffix="csv", open=Focus),
}


def file_name(name: str, day: date) -> str:
    """Name the file of a day in the format *name*."""
    found = FORMATS[name]
    return f"{found.stem}_{day:%Y%m%d}.{found.suffix}"
