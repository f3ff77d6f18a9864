"""A small program for `test_supervise.py`: keeps the shell scripts of its arguments running, until it is told to stop.

The one called `last` is stopped after the others.

python supervised.py '<grace in seconds>' '<settle in seconds>' NAME=SCRIPT …
"""

from __future__ import annotations

import sys
import time

from llm_one_api import logs
from llm_one_api.cli.supervise.backoff import Backoff
from llm_one_api.cli.supervise.child import Part
from llm_one_api.cli.supervise.signals import Hurried, Signals
from llm_one_api.cli.supervise.supervisor import Supervisor


def main(grace: str, settle: str, *scripts: str) -> None:
    logs.configure()
    with Signals() as signals:
        supervisor = Supervisor(signals, settle=float(settle), make_backoff=lambda: Backoff(first=0.05))
        for script in scripts:
            name, _, text = script.partition("=")
            supervisor.start(Part(name=name, argv=("/bin/sh", "-c", text)))
        while not signals.stopping:
            supervisor.wait(60)
        print("stopping", flush=True)
        try:
            names = {script.partition("=")[0] for script in scripts}
            until = time.monotonic() + float(grace)
            supervisor.stop(*names - {"last"}, until=until)
            supervisor.stop("last", until=until)
        except Hurried:
            print("hurried", flush=True)
            supervisor.stop_all("last", seconds=0.2)
        finally:
            supervisor.kill_all()
        print("stopped", flush=True)


main(*sys.argv[1:])
