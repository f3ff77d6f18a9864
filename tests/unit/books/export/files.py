"""What stands in a target."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Any

import msgspec

from llm_one_api.books.reports.export.target import Target

DAY = date(2025, 11, 12)
"""The day of the founding document's example."""
ALL = ("json", "jsonl", "csv", "parquet", "focus")


def contents(target: Target) -> dict[str, bytes]:
    """Read all files."""
    return {name: target.read(name) or b"" for name in target.names()}


def read(target: Target, name: str) -> bytes:
    """Read one that must be there."""
    text = target.read(name)
    assert text is not None, target.names()
    return text


def manifest(target: Target, day: date = DAY) -> Any:
    """Read a manifest, and hold the files against it."""
    found = msgspec.json.decode(read(target, f"manifest_{day:%Y%m%d}.json"))
    for file in found["files"]:
        text = read(target, file["name"])
        assert (len(text), hashlib.sha256(text).hexdigest()) == (file["bytes"], file["sha256"])
    return found


def lines(target: Target, day: date = DAY) -> list[Any]:
    """Read the calls of a day."""
    return [msgspec.json.decode(line) for line in read(target, f"records_{day:%Y%m%d}.jsonl").splitlines()]
