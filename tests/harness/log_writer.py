"""Writes calls through the log plugin: one of several processes that share a file.

`python -m tests.harness.log_writer NAME COUNT PAUSE FOLDER ROTATE [PRETENDED]`: prints the number of each line that was
written. With PRETENDED (seconds since 1970) it makes a file `ready-NAME`, waits for a file `go` that has a time in it,
and goes on as if it had been PRETENDED at that time.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path

import time_machine

from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.log import LogStatsPlugin
from tests.harness.records import context, info


def main() -> None:
    """Write, and say so."""
    name, count, pause, folder, rotate, *pretended = sys.argv[1:]
    travel = time_machine.travel(float(pretended[0]) + _since_go(Path(folder), name)) if pretended else None
    with travel or contextlib.nullcontext():
        plugin = LogStatsPlugin(PluginConfig({}, context(Path(folder), rotate=rotate, backup_count=1000)))
        plugin.initialize()
        for number in range(int(count)):
            plugin.record_response(info(1, request_id=f"{name}-{number}", end_user="x" * (number % 500)))
            print(number, flush=True)
            if float(pause):
                threading.Event().wait(float(pause))
        plugin.cleanup()


def _since_go(folder: Path, name: str) -> float:
    (folder / f"ready-{name}").touch()
    go = folder / "go"
    while not go.exists():
        threading.Event().wait(0.005)
    return time.time() - float(go.read_text())


if __name__ == "__main__":
    main()
