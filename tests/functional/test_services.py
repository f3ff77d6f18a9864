"""The servers that tests use end with the tests, however those end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.harness.processes import ROOT, wait_until

_STARTS_ONE = """
import sys, time
from tests.harness.services import postgres_server
with postgres_server() as server:
    print(server._server.get_pid(), server._server.pgdata, flush=True)
    time.sleep(60)
"""


def test_a_postgresql_ends_with_who_started_it_even_by_kill_9() -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _STARTS_ONE], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        pid, folder = starter.stdout.readline().split()
        running = psutil.pid_exists(int(pid))
        starter.send_signal(signal.SIGKILL)

    assert running
    wait_until(lambda: not psutil.pid_exists(int(pid)) and not Path(folder).parent.exists())
