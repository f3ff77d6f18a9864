"""The relay that a gunicorn process starts, and that ends in order when the whole of gunicorn does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from llm_one_api.lifetime import BEHIND_CALLS
from llm_one_api.stores.journal.lock import relay_pid

_RELAY = (sys.executable, "-m", "llm_one_api.cli", "relay")
LIFELINE = "LLM_ONE_API_LIFELINE"
"""In ours: the number of a descriptor, whose end is that of whoever runs us all."""
_OURS = "LLM_ONE_API_RELAY_OF_GATEWAY"
"""In the environment of a relay that gunicorn has started: one that a service of its own runs is not ours to end."""
ENDS_WITHIN = 4.5
"""Seconds: it waits for acks for three of them."""


def spawn(lifeline: int | None) -> subprocess.Popen[bytes]:
    """Start one. *lifeline* is handed on: a pipe that lives as long as whoever runs us all."""
    relay = subprocess.Popen(  # noqa: S603 (our own command)
        _RELAY,
        stdin=subprocess.DEVNULL,
        env={**os.environ, _OURS: "1"},
        start_new_session=True,
        pass_fds=() if lifeline is None else (lifeline,),
    )
    # What is done with records never delays a call.
    os.setpriority(os.PRIO_PROCESS, relay.pid, BEHIND_CALLS)
    return relay


def end(folder: Path, within: float = ENDS_WITHIN) -> None:
    """Have the relay of *folder* send what there is, if gunicorn has started it, and wait for its end a while."""
    until, asked = time.monotonic() + within, None
    with suppress(OSError):  # it may end by itself at any moment
        while (pid := relay_pid(folder)) is not None and _is_ours(pid) and time.monotonic() < until:
            if pid != asked:  # or a second one, which another process had started too, and whose turn it was then
                os.kill(pid, signal.SIGTERM)
                asked = pid
            time.sleep(0.05)


def _is_ours(pid: int) -> bool:
    return f"{_OURS}=1".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
