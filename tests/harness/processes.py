"""Starts real processes that die with the test run, and waits for things with a deadline."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A child in a process group of its own, its output in a file; killed with the test run, whatever happens."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        folder: Path,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start *argv* in *folder*; stdout and stderr go to `<folder>/<name>.out`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.output = folder / f"{name}.out"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LLM_ONE_API")}
        with self.output.open("ab") as out:
            self.popen = subprocess.Popen(
                [str(a) for a in argv],
                cwd=folder,
                env={**clean, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self.popen.pid

    @property
    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self.popen.poll() is None

    def text(self) -> str:
        """Read what it has printed so far."""
        return self.output.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def stop(self, timeout: float = 10.0) -> int:
        """Ask it to end, then make it; returns its exit code."""
        if self.alive:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
        self.kill()
        return self.popen.wait()

    def kill(self) -> None:
        """Kill -9 it and its process group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()


def wait_until(
    check: Callable[[], T | Literal[False] | None], *, timeout: float = 20.0, what: str = "", every: float = 0.02
) -> T:
    """Poll *check* until it is truthy and return what it gave; fail after *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or check}")
        time.sleep(every)


def free_port() -> int:
    """Give a loopback port that was free just now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port
