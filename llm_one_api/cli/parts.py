"""The parts of one installation: how `up` runs each. Alone they are run just the same (`docs/operations.md`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from llm_one_api.books.farewell import ELSEWHERE
from llm_one_api.cli.supervise.child import Part
from llm_one_api.lifetime import BEHIND_CALLS

GATEWAY = "gateway"
DEMO = "demo-upstream"
BEAT = "beat"
INGEST = "worker-ingest"
DELIVER = "worker-deliver"
METRICS = "metrics"
WORKERS = (INGEST, DELIVER)
READY_FILE = "LLM_ONE_API_READY_FILE"
"""Names the file that `workers/supervised.py` makes when a worker takes tasks."""


def gateway(env: Mapping[str, str], lifeline: int) -> Part:
    """Run gunicorn, which brings the relay. *lifeline* is the read end of a pipe that lives as long as we do."""
    return Part(
        name=GATEWAY,
        argv=_python("gunicorn", "-c", "python:llm_one_api.web.gunicorn_conf", "llm_one_api.app:create_app()"),
        env={**env, "LLM_ONE_API_LIFELINE": str(lifeline)},
        pass_fds=(lifeline,),
    )


def ready_file(run: Path, name: str) -> Path:
    """Tell which file says that the worker *name* takes tasks."""
    return (run / f"{name}.ready").resolve()


def worker(name: str, queues: str, processes: int, env: Mapping[str, str], run: Path) -> Part:
    """Run a Celery worker for *queues* (`ingest`, or `deliver,jobs`); it leaves the farewell to us."""
    return Part(
        name=name,
        argv=_celery(
            *("worker", "-Q", queues, "-c", str(processes), "-n", f"{name}@%h", "-l", "WARNING"),
            *("-I", "workers.supervised", "--without-gossip", "--without-mingle", "--without-heartbeat"),
        ),
        env={**env, READY_FILE: str(ready_file(run, name)), ELSEWHERE: "1"},
        nice=BEHIND_CALLS,
    )


def beat(env: Mapping[str, str], run: Path) -> Part:
    """Run Celery's clock. It remembers in *run* what it did when."""
    schedule = str((run / "beat-schedule").resolve())
    scheduler = ("-S", "workers.supervised:Scheduler")
    return Part(name=BEAT, argv=_celery("beat", *scheduler, "-s", schedule, "--pidfile", "", "-l", "WARNING"), env=env)


def metrics(env: Mapping[str, str]) -> Part:
    """Run what Prometheus scrapes."""
    return Part(name=METRICS, argv=_python("llm_one_api.cli", "metrics"), env=env, nice=BEHIND_CALLS)


def demo_upstream(env: Mapping[str, str], listening: int) -> Part:
    """Run the demo upstream on a socket of ours, so that it keeps its port when it is started again."""
    argv = _python("llm_one_api.cli", "demo-upstream", "--fd", str(listening))
    return Part(name=DEMO, argv=argv, env=env, pass_fds=(listening,))


def _python(module: str, *rest: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *rest)


def _celery(*rest: str) -> tuple[str, ...]:
    return _python("celery", "-A", "workers.celery_app", "--quiet", *rest)
