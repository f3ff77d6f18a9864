"""Commands of `llm-one-api`, run to their end in processes of their own, without the second that imports take.

A process that has imported them forks for each (`command_server.py`). Whether a command starts by itself is for tests
that start it themselves, as `test_starting.py` does.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.harness.processes import Process

TIMEOUT = 60.0


class CommandServer:
    """The process that forks."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="commands-")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(TIMEOUT)
        with theirs:
            argv = [sys.executable, "-m", "tests.harness.command_server", str(theirs.fileno())]
            fds = [theirs.fileno()]
            self.process = Process("server", argv, folder=Path(self._folder.name), pass_fds=fds)

    def run(self, words: list[str], folder: Path, env: Mapping[str, str], typed: str) -> tuple[int, str, str]:
        """Run one to its end; gives its exit code, and what it has written to stdout and stderr."""
        asked = json.dumps({"words": words, "cwd": str(folder), "env": dict(env)}).encode()
        with tempfile.TemporaryFile() as in_, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            in_.write(typed.encode())
            in_.seek(0)
            socket.send_fds(self._socket, [asked], [in_.fileno(), out.fileno(), err.fileno()])
            code = self._socket.recv(64)
            assert code, self.process.text()
            out.seek(0)
            err.seek(0)
            return int(code), out.read().decode(), err.read().decode()

    def close(self) -> None:
        """End it, and a command that has not ended."""
        self.process.kill()
        self._socket.close()
        self._folder.cleanup()


@cache
def _server() -> CommandServer:
    return CommandServer()


def close() -> None:
    """End the process that forks, if there is one."""
    if _server.cache_info().currsize:
        _server().close()
        _server.cache_clear()


def run(
    *words: str | Path, folder: Path, env: Mapping[str, str] | None = None, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `llm-one-api` *words* in *folder*, with nothing of ours in its environment but *env*."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LLM_ONE_API")}
    argv = [str(word) for word in words]
    try:
        code, out, err = _server().run(argv, folder, {**clean, **(env or {})}, typed)
    except BaseException:  # it did not end in time, or the test is ended: what it says later is no answer to the next
        close()
        raise
    return subprocess.CompletedProcess(argv, code, out, err)
