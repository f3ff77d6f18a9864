"""A whole gateway for the length of a block, by `llm-one-api up` in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from llm_one_api.lifetime import end_with

TRIES = 5
"""Starts, should somebody else take the port that was free."""
STARTED_WITHIN, STOPPED_WITHIN = 90.0, 30.0
"""Seconds."""
HELLO = "LLM One API answers at "


class OwnGateway:
    """A running `llm-one-api up`. It ends with this process, however that ends."""

    def __init__(self, folder: Path, sections: Mapping[str, Any]) -> None:
        """Start it with *sections* in its config. Raises ClickException with what it printed if it does not start."""
        self._folder = folder
        self._sections = sections
        self._output = folder / "output"
        for _ in range(TRIES):
            self.port = _free_port()
            self._popen = self._start()
            if self._says_hello():
                return
            self.close()
            if "cannot listen" not in self.output:
                break
        raise click.ClickException(f"the gateway does not start:\n{self.output[-3000:]}")

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """All that its processes have printed."""
        return self._output.read_text(errors="replace")

    def kill(self) -> None:
        """Kill the processes that serve calls, as the kernel does when memory is short; others take their place."""
        for process in children(self._popen.pid):
            if b"gunicorn" in _command(process):
                for worker in children(process):
                    if b"gunicorn" in _command(worker):
                        with suppress(ProcessLookupError):
                            os.kill(worker, signal.SIGKILL)

    def close(self) -> None:
        """End it in order, or else at once."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOPPED_WITHIN)
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        config = self._folder / "config.yaml"
        server = {"host": "127.0.0.1", "port": self.port}
        config.write_text(json.dumps({**self._sections, "server": {**server, **self._sections.get("server", {})}}))
        config.chmod(0o600)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LLM_ONE_API")}
        us = os.getpid()
        with self._output.open("wb") as output:
            return subprocess.Popen(  # noqa: S603 (our own command)
                (sys.executable, "-m", "llm_one_api.cli", "up", "--config", str(config)),
                cwd=self._folder,
                env={**clean, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=lambda: end_with(us),  # noqa: PLW1509 (no other thread runs yet)
            )

    def _says_hello(self) -> bool:
        until = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < until and self._popen.poll() is None:
            if HELLO in self.output:
                return True
            time.sleep(0.05)
        return False


@contextmanager
def own_gateway(folder: Path, sections: Mapping[str, Any]) -> Iterator[OwnGateway]:
    """Run one for the length of a block."""
    gateway = OwnGateway(folder, sections)
    try:
        yield gateway
    finally:
        gateway.close()


def children(pid: int) -> list[int]:
    """Name the processes that *pid* has started and that still run."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, IndexError):  # it may end meanwhile
                state = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(state[1]) == pid and state[0] != "Z":
                    found.append(int(folder.name))
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port
