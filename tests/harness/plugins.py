"""Installs plugins as a stranger's package does: by entry points that Python finds on its path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest


def entry_points(folder: Path, entries: Mapping[str, Mapping[str, str]]) -> Path:
    """Write *entries* (kind → name → `module:Class`) as a package has them; gives what must be on Python's path."""
    number = len(list(folder.glob("strangers*"))) + 1
    metadata = folder / f"strangers{number}" / f"strangers{number}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: strangers{number}\nVersion: 1.0\n")
    lines = [
        line
        for kind, names in entries.items()
        for line in [f"[llm_one_api.{kind}]", *(f"{name} = {value}" for name, value in names.items())]
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return metadata.parent


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, entries: Mapping[str, Mapping[str, str]]) -> None:
    """Make *entries* known until the test ends."""
    monkeypatch.syspath_prepend(str(entry_points(folder, entries)))
