"""A stranger's stats plugin that does what a file tells it: its work, or harm."""

from __future__ import annotations

import os
import time
from pathlib import Path

from llm_one_api.plugins.interfaces import PluginConfig, ResponseInfo, StatsPlugin

LEAK_BYTES = 2**24
"""A leak of one call."""
MOST_LEAKED = 2**30
"""What a process leaks at most, should nobody end it."""


class TroubledPlugin(StatsPlugin):
    """Writes down the id of each call, unless it is told to raise, to hang or to leak."""

    def __init__(self, config: PluginConfig) -> None:
        super().__init__(config)
        self._folder = Path(config["folder"])
        self._leaked: list[bytes] = []

    def record_response(self, response_info: ResponseInfo) -> None:
        match self._told():
            case "raise":
                raise ValueError("told to raise")
            case "hang":
                time.sleep(3600)
            case "leak" if len(self._leaked) * LEAK_BYTES < MOST_LEAKED:
                self._leaked.append(os.urandom(LEAK_BYTES))
        with (self._folder / "delivered").open("a") as file:
            file.write(f"{response_info['request_id']}\n")

    def _told(self) -> str:
        try:
            return (self._folder / "mode").read_text()
        except FileNotFoundError:
            return ""
