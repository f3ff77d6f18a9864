"""The process that counts, as seen from a gunicorn process: what it is given, and what it tells. On gevent's hub.

Nothing here waits for it but greenlets of its own. It is started when there is first something to send, and let go
when it has had nothing to do for a while.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import gevent
import msgspec
import structlog
from gevent import socket
from gevent.event import Event
from gevent.subprocess import DEVNULL, Popen, TimeoutExpired

from llm_one_api.tokens import wire

log = structlog.get_logger()

MOST_BEHIND = 64 * 1024 * 1024
"""Bytes that may wait for a process; what would be more is not counted."""
REST_SECONDS = 10.0
"""After a process that died before it had told anything, for so long no other is started."""
COMMAND = (sys.executable, "-m", "llm_one_api.tokens")

_END_SECONDS = 1.0
_RECEIVE = 64 * 1024


class Task:
    """A text or a body that the process counts."""

    __slots__ = ("_last", "_process", "_waiting", "behind", "kind", "model", "number", "over", "queued", "tokens")

    def __init__(self, process: Process | None, number: int, model: str, kind: str) -> None:
        self.number = number
        self.model = model
        self.kind = kind
        self.over = Event()
        """When it is set, `tokens` is the figure; None: there is none."""
        self.tokens: int | None = None
        self.behind = 0
        """Bytes of it that are not worked off."""
        self.queued = False
        self._process = process
        self._waiting: deque[memoryview | None] = deque()
        """What is to be sent. None: that it is dropped."""
        self._last = False
        if process is None:
            self.over.set()

    def more(self, data: bytes, *, last: bool = False) -> None:
        """Hand more of it over, or what is left. If that would be too much for the process, it is not counted."""
        if self._process is None or self.over.is_set():
            return
        if self._process.behind + len(data) > MOST_BEHIND:
            self.forget()
            return
        self.behind += len(data)
        self._process.behind += len(data)
        self._waiting.append(memoryview(data))
        self._last = last
        self._process.queue(self)

    def forget(self) -> None:
        """Have it counted no further."""
        if self._process is not None and not self.over.is_set():
            self._waiting.clear()
            self._waiting.append(None)
            self._process.let_go(self)
            self._process.queue(self)

    @property
    def has_more(self) -> bool:
        """Whether there is something to send."""
        return bool(self._waiting)

    def frame(self) -> bytes:
        """Give the next message to send."""
        data = self._waiting.popleft()
        if data is None:
            return wire.pack(wire.Drop(self.number))
        if len(data) > wire.FRAME:
            self._waiting.appendleft(data[wire.FRAME :])
        last = self._last and not self._waiting
        return wire.pack(wire.Piece(self.number, self.model, self.kind, data[: wire.FRAME], last))


class Process:
    """One life of a process that counts. What it has not told when it ends, it does not tell any more."""

    def __init__(self, *, idle: float, command: Sequence[str] = COMMAND, rest: float = REST_SECONDS) -> None:
        """Start nothing yet; let it go when there was nothing to do for *idle* seconds."""
        self.behind = 0
        """Bytes that were given to it and not worked off."""
        self.ended = False
        self.none_before = 0.0
        """When there may be another one, by `time.monotonic()`."""
        self._idle = idle
        self._command = tuple(command)
        self._rest = rest
        self._numbers = count(1)
        self._tasks: dict[int, Task] = {}
        self._ring: deque[Task] = deque()
        """Those with something to send; each in turn sends one message."""
        self._sending = False
        self._has_told = False
        self._socket: Any = None
        self._popen: Any = None

    def begin(self, model: str, kind: str) -> Task:
        """Begin a task; something must come of it."""
        task = Task(self, next(self._numbers), model, kind)
        self._tasks[task.number] = task
        return task

    def queue(self, task: Task) -> None:
        """Have something of *task* sent when it is its turn."""
        if not task.queued and not self.ended:
            task.queued = True
            self._ring.append(task)
            if not self._sending:
                self._sending = True
                gevent.spawn(self._send)

    def let_go(self, task: Task) -> None:
        """Have no more to do with *task*: it is over."""
        if self._tasks.pop(task.number, None) is not None:
            self.behind -= task.behind
            task.over.set()

    def end(self) -> int | None:
        """Let it go, with all tasks; give its exit code, if there was a process."""
        self.ended = True
        self._ring.clear()
        for task in list(self._tasks.values()):
            self.let_go(task)
        if self._socket is not None:
            self._socket.close()
        return None if self._popen is None else _reap(self._popen)

    # -- its greenlets --

    def _send(self) -> None:
        """Send what there is to send, starting the process for the first of it."""
        try:
            if self._ring and self._socket is None:
                self._start()
            while self._ring:
                task = self._ring.popleft()
                self._socket.sendall(task.frame())
                if task.has_more:
                    self._ring.append(task)
                else:
                    task.queued = False
                gevent.sleep(0)  # a socket that always takes something would never let anybody else run
        except OSError as error:
            if self._popen is None:
                self._died(wire.Failed(f"{type(error).__name__} {error.errno}", []))
            else:  # whoever reads sees its end, and what it may have told before
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        finally:
            self._sending = False

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._popen = Popen(self._command, stdin=theirs, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours
        if self.ended:  # meanwhile
            self.end()
        else:
            gevent.spawn(self._read)

    def _read(self) -> None:
        """Hear what it tells, until it ends or is not needed any more."""
        answers = wire.answers()
        failed = None
        try:
            while True:
                data = None
                with gevent.Timeout(self._idle, False):
                    data = self._socket.recv(_RECEIVE)
                if data is None:
                    if not self._tasks:
                        self.end()
                        return
                    continue
                if not data:
                    break
                for answer in answers.feed(data):
                    if isinstance(answer, wire.Failed):
                        failed = answer
                    else:
                        self._hear(answer)
        except (OSError, msgspec.DecodeError):
            pass
        if not self.ended:
            self._died(failed)

    def _hear(self, answer: wire.Done | wire.Counted) -> None:
        self._has_told = True
        task = self._tasks.get(answer.task)
        if task is None:
            return  # it was dropped
        if isinstance(answer, wire.Counted):
            task.tokens = answer.tokens
            self.let_go(task)
        else:
            task.behind -= answer.size
            self.behind -= answer.size

    def _died(self, failed: wire.Failed | None) -> None:
        """Tell that it ended without being asked to."""
        if not self._has_told:
            self.none_before = time.monotonic() + self._rest
        pending = len(self._tasks)
        code = self.end()
        told = {"kind": failed.kind, "where": failed.where} if failed else {}
        log.warning("tokens.process_died", exit=code, pending=pending, **told)


def _reap(popen: Any) -> int:
    """Wait for the end of a process whose socket is closed; it has nothing to clean up, so it may be killed."""
    try:
        code: int = popen.wait(_END_SECONDS)
    except TimeoutExpired:
        popen.kill()
        code = popen.wait()
    return code
