"""What a day's export says of itself, so that whoever has the files can tell whether they are whole and true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from llm_one_api.reporting.sheet import plain
from llm_one_api.stores.ledger.analysis import Sums
from llm_one_api.values import Value

VERSION = 1


class File(Value, frozen=True, kw_only=True):
    """One file of an export."""

    name: str
    format: str
    """`summary`, or a format of calls."""
    rows: int
    """Calls in it; of FOCUS, charges: calls that have a cost."""
    bytes: int
    sha256: str


class Manifest(Value, frozen=True, kw_only=True):
    """What is in the files of a day."""

    day: date
    timezone: str
    since: datetime
    """The begin of the day, and its end: what was admitted from the one until before the other is in it."""
    until: datetime
    sums: Mapping[str, Any]
    """What the calls come to: every figure of the ledger's sums, the cost as an exact decimal."""
    files: tuple[File, ...]
    version: int = VERSION

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats of calls that it has."""
        return tuple(file.format for file in self.files if file.format != "summary")

    def encode(self) -> bytes:
        """Write it, the same bytes for the same content."""
        fields = {
            "object": "export.manifest",
            "version": self.version,
            "day": self.day,
            "timezone": self.timezone,
            "since": self.since,
            "until": self.until,
            "requests": self.sums["requests"],
            "sums": self.sums,
            "files": self.files,
        }
        return msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n"


class Unreadable(Exception):
    """What stands in a manifest's place is none."""


def decode(text: bytes) -> Manifest:
    """Read one. Raises Unreadable."""
    try:
        found = msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unreadable(str(error)) from None
    if found.version != VERSION or "requests" not in found.sums:
        raise Unreadable(f"version {found.version}")
    return found


def file_name(day: date) -> str:
    """Name the manifest of a day."""
    return f"manifest_{day:%Y%m%d}.json"


def day_of_name(name: str) -> date | None:
    """Tell of which day a file is the manifest; None: it is none."""
    digits = name.removeprefix("manifest_").removesuffix(".json")
    if name != f"manifest_{digits}.json" or not (
        digits.isascii() and digits.isdigit() and len(digits) == len("20261124")
    ):
        return None
    try:
        return date.fromisoformat(digits)
    except ValueError:
        return None


def of_sums(sums: Sums) -> dict[str, Any]:
    """Lay sums out as a manifest has them."""
    fields: dict[str, Any] = msgspec.structs.asdict(sums)
    fields["outcomes"] = dict(sorted(sums.outcomes.items()))
    fields["cost"] = None if sums.cost is None else plain(sums.cost)
    return fields


def differing(manifest: Manifest, sums: Sums) -> Iterator[tuple[str, Any, Any]]:
    """Tell which figures differ, as (figure, the manifest has, *sums* have). One that a manifest has not is none."""
    now = of_sums(sums)
    for name, figure in manifest.sums.items():
        if name in now and not _same(name, figure, now[name]):
            yield name, figure, now[name]


def _same(name: str, one: Any, other: Any) -> bool:
    if name == "cost" and one is not None and other is not None:
        return Decimal(one) == Decimal(other)
    return bool(one == other)
