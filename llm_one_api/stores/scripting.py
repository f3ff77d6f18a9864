"""Runs one Lua script after another on a connection of its own: msgpack in, and never a late answer."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha1
from importlib.resources import files
from typing import Any

import msgspec
import redis

from llm_one_api.stores.counters import connect

_encode = msgspec.msgpack.Encoder().encode


class Script:
    """One of the scripts that stand in a package's folder `scripts/`, behind what all of them share."""

    def __init__(self, package: str, name: str) -> None:
        """Read it."""
        folder = files(package) / "scripts"
        shared, own = ((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("shared", name))
        self.text = (shared + own).encode()
        digest = sha1(self.text, usedforsecurity=False).hexdigest()
        self.head = f"$7\r\nEVALSHA\r\n$40\r\n{digest}\r\n$1\r\n0\r\n".encode()


class Client:
    """One connection, made at the first need and thrown away after any error. For one thread or greenlet at a time."""

    def __init__(self, url: str, timeout: float) -> None:
        """Connect to *url* and wait *timeout* seconds at most for it and for each answer."""
        self.redis: Any = connect(url, timeout=timeout, decode_responses=False)
        self._connection: Any = None

    def call(self, script: Script, message: Mapping[str, Any], *more: bytes) -> Any:
        """Run *script* with a message that it reads and *more* that it only keeps; give its answer, texts as bytes.

        Raises redis.RedisError or OSError; it may have been run all the same.
        """
        arguments = (_encode(message), *more)
        try:
            if self._connection is None:
                self._connection = self.redis.connection_pool.make_connection()
            connection = self._connection
            told = [b"$%d\r\n%b\r\n" % (len(one), one) for one in arguments]
            command = b"".join((b"*%d\r\n" % (3 + len(told)), script.head, *told))
            try:
                return self._ask(connection, command)
            except redis.exceptions.NoScriptError:  # a new server, or one that was told to forget
                self._ask(connection, connection.pack_command("SCRIPT", "LOAD", script.text))
                return self._ask(connection, command)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _ask(connection: Any, command: Any) -> Any:
        # Under gevent, a hub that was busy with something else looks at the socket before it tells of the time.
        connection.send_packed_command(command if isinstance(command, list) else [command])
        return connection.read_response(disable_decoding=True, disconnect_on_error=False)

    def close(self) -> None:
        """Throw the connection away."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
