"""One `up` for a data folder, one listener for a port, folders that can be written: told before anything is started."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from llm_one_api.stores.journal import segments


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say in a sentence what *folder*, or its disk, refuses in the block."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write to {folder}: {error.strerror or error}") from None


@contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Hold *data_dir* for the length of a block; fail if another `up` has it. The lock ends with this process.

    A folder that is made here is for our own eyes only: the ledger says who called when.
    """
    with writing_to(data_dir):
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        data_dir.mkdir(mode=0o700, exist_ok=True)
        run = data_dir / "run"
        run.mkdir(exist_ok=True)
        file = os.open(run / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(file, 20).decode(errors="replace").strip()
            raise click.ClickException(
                f"another `llm-one-api up` (process {pid}) is running with the data folder {data_dir.resolve()}"
            ) from None
        with writing_to(data_dir):
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(file)


def check_free(host: str, port: int, change: str = "--port (or server.port in the config)") -> None:
    """Fail if something else listens there, or nothing can; *change* says what to set then."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(address)
            s.listen()
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {reason}. Choose another with {change}"
        ) from None


def check_journal(folder: Path) -> None:
    """Make the journal's folder; fail if no file can be made in it: no call could be recorded, no relay start."""
    with writing_to(folder):
        segments.prepare(folder)
        segments.journal_id(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
