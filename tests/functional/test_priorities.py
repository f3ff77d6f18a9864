"""What is done with records does not delay calls: workers are behind the gateway in priority."""

from __future__ import annotations

import os
from pathlib import Path

from llm_one_api.cli import parts
from llm_one_api.cli.supervise.child import Child, Part
from tests.harness.processes import wait_until


def test_the_workers_run_behind_the_gateway() -> None:
    worker = parts.worker(parts.INGEST, "ingest", 1, {}, Path())
    gateway = parts.gateway({}, 0)
    ours = os.getpriority(os.PRIO_PROCESS, 0)

    for part, expected in ((worker, min(19, ours + worker.nice)), (gateway, ours)):
        child = Child(Part(name="x", argv=("sleep", "30"), nice=part.nice), started_at=0.0)
        try:
            wait_until(lambda c=child, e=expected: os.getpriority(os.PRIO_PROCESS, c.pid) == e, what=part.name)  # type: ignore[misc]
        finally:
            child.reap()
    assert worker.nice > gateway.nice == 0
