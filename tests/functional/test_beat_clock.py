"""Beat's clock: set back, it goes on; nobody waits until the old time comes again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness.processes import ROOT

PROGRAM = """
from datetime import UTC, datetime, timedelta
import time_machine
from workers.supervised import Scheduler, app

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
sent = []

class Sending(Scheduler):
    producer = None

    def apply_async(self, entry, *arguments, **named):
        sent.append(entry.name)

def ticks(at, scheduler):
    sent.clear()
    with time_machine.travel(at, tick=False):
        for _ in range(10):
            scheduler.tick()
    return sorted(set(sent))

with time_machine.travel(NOW, tick=False):
    scheduler = Sending(app=app, schedule_filename="beat")
print(ticks(NOW + timedelta(minutes=11), scheduler))
print(ticks(NOW + timedelta(seconds=1), scheduler))
print(ticks(NOW + timedelta(seconds=7), scheduler))
print(ticks(NOW + timedelta(seconds=62), scheduler))
scheduler.close()
"""


def test_beat_goes_on_when_the_clock_is_set_back(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("logging: {level: error}")

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={"LLM_ONE_API_CONFIG": str(tmp_path / "config.yaml"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    everything = ["alerts", "deliver-log", "deliver-memory", "jobs", "quotas"]
    deliveries = everything[1:3]
    assert [eval(line) for line in done.stdout.splitlines()] == [everything, [], deliveries, everything], done.stderr
