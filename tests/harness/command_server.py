"""Runs commands of `llm-one-api`, each in a process of its own that is forked off one that has imported them all.

`python -m tests.harness.command_server <fd>`; what it is asked comes through that socket, from `commands.py`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
from contextlib import suppress
from typing import Any

from llm_one_api.cli import main

IMPORTED = (
    "check_config", "conformance", "db", "deadletter", "plugins", "prices", "relay", "stats", "up", "upstreams",
    "verify",
)  # fmt: skip


def serve(sock: socket.socket) -> None:
    """Run what is asked for, one after another, until nobody is left to ask. In the child it returns too, to end it."""
    while True:
        asked, fds, _, _ = socket.recv_fds(sock, 1 << 20, 3)
        if not asked:
            return
        pid = os.fork()
        if pid == 0:
            sock.close()
            become(json.loads(asked), fds)
            main(prog_name="llm-one-api")
        for fd in fds:
            os.close(fd)
        _, status = os.waitpid(pid, 0)
        with suppress(BrokenPipeError):
            sock.send(str(os.waitstatus_to_exitcode(status)).encode())


def become(asked: dict[str, Any], fds: list[int]) -> None:
    """Have what a new process would have: arguments, a folder, an environment, and three streams."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.path[:0] = asked["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = ["llm-one-api", *asked["words"]]
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1)  # noqa: SIM115


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(f"llm_one_api.cli.{name}")
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
