"""Two beats by accident: two workers look at the same moment, over one ledger."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.processes import BIN, free_port

TICK = """
import sys, time
from workers import tasks
from llm_one_api import periodic
from llm_one_api.books.jobs import Done

def slow(settings, means, period):
    print("worked", period.start.isoformat(), flush=True)
    time.sleep(0.5)
    return Done()

periodic._EACH_PERIOD = {name: slow for name in periodic._EACH_PERIOD}
print("ready", flush=True)
sys.stdin.readline()
tasks.tick()
"""


def test_they_do_nothing_twice(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"redis": {"url": f"redis://127.0.0.1:{free_port()}/0"}}))
    (tmp_path / "data").mkdir()
    ledger = Ledger(f"sqlite:///{tmp_path}/data/ledger.db")
    ledger.upgrade()
    env = {"PATH": str(BIN), "LLM_ONE_API_CONFIG": str(config)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", TICK], cwd=tmp_path, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    told: list[str] = []
    threads = [
        threading.Thread(target=lambda w=worker: told.append(w.communicate("go\n", 60)[0])) for worker in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    worked = [line for text in told for line in text.splitlines() if line.startswith("worked")]
    last = {name: ledger.job_runs.last(name) for name in ("retention", "sums", "audit")}
    ledger.close()
    assert len(worked) == len(last)
    assert all(run is not None and run.ok for run in last.values())
