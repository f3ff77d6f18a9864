"""Loads a config from text, as the tests write it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_one_api.errors import ConfigError
from llm_one_api.settings import Settings, load
from llm_one_api.targets import Target


class Loader:
    """Writes a file and loads it, with an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config.yaml"

    def __call__(self, text: str | bytes = "", environ: Mapping[str, str] | None = None, **options: Any) -> Settings:
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(self.file, environ or {}, **options)

    def faults(self, text: str | bytes = "", environ: Mapping[str, str] | None = None, **options: Any) -> list[str]:
        """Load what must not load, and give the lines that a person would read."""
        with pytest.raises(ConfigError) as caught:
            self(text, environ, **options)
        return [str(fault) for fault in caught.value.faults]


def targets_of(settings: Settings) -> dict[str, Target]:
    """Tell where calls to each model go, if it has one upstream only."""
    found = {}
    for model, route in settings.routes().items():
        (found[model],) = route.targets
    return found
