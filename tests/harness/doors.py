"""A way to a server that a test may close, or hold up, while the server itself does not notice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

Connect = Callable[[], socket.socket]


class Door:
    """Listens, and hands on what comes in both directions."""

    def __init__(self, listen: Connect, connect: Connect) -> None:
        """Listen by *listen*, which may be called again, and reach the server by *connect*."""
        self._listen = listen
        self._connect = connect
        self._flows = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listening: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Let everybody in, and everything pass."""
        self._flows.set()
        if self._listening is None:
            self._listening = self._listen()
            threading.Thread(target=self._accept, args=[self._listening], daemon=True).start()

    def hold_up(self) -> None:
        """Let everybody in, and nothing pass: what comes waits."""
        self._flows.clear()

    def close(self) -> None:
        """Throw everybody out, and let nobody in."""
        listening, self._listening = self._listening, None
        with self._lock:
            gone, self._sockets = self._sockets, set()
        for each in [*([listening] if listening else []), *gone]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._flows.set()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):  # it was closed
            while True:
                inner, _ = listening.accept()
                try:
                    outer = self._connect()
                except OSError:
                    inner.close()
                    continue
                with self._lock:
                    self._sockets |= {inner, outer}
                for source, target in ((inner, outer), (outer, inner)):
                    threading.Thread(target=self._hand_on, args=[source, target], daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # one of them was closed
            while data := source.recv(1 << 16):
                self._flows.wait()
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
            with self._lock:
                self._sockets.discard(each)
