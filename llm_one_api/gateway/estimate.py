"""Tokens of calls whose upstream told none, counted in a process beside this one (`tokens/`), off the hub.

A short body and the beginning of an answer are kept here, until it is known that they have to be counted, which is
seldom: then they are handed over. What is longer is handed over as it comes, and not kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import gevent

from llm_one_api.tokens import client, wire
from llm_one_api.values import Value

KEPT = 12 * 1024
"""Bytes of a call's body that are kept here."""
KEPT_TEXT = 12 * 1024
"""Bytes of its answer's text. With the 8 KB of events in `hearing.py`, a call keeps 32 KB at most."""
LARGE = 4 * 1024 * 1024
"""Bytes. Longer bodies have a process of their own: to read 32 MB takes 100 ms in which it counts nothing else."""
IDLE_SECONDS = 300.0
PATIENCE_SECONDS = 20.0

_LONGEST_MODEL = 200


class Counted(Value, frozen=True, kw_only=True):
    """What was counted. None: it could not be, or not in time."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Estimator:
    """Counts for the calls of one gunicorn process. Starts nothing before it is needed."""

    def __init__(
        self,
        *,
        patience: float = PATIENCE_SECONDS,
        idle: float = IDLE_SECONDS,
        rest: float = client.REST_SECONDS,
        command: Sequence[str] = client.COMMAND,
    ) -> None:
        """Wait *patience* seconds for a call's figures; let a process go after *idle* seconds without work."""
        self.patience = patience
        self._idle = idle
        self._rest = rest
        self._command = command
        self._processes: dict[bool, client.Process] = {}
        """By whether it is the one for large bodies."""
        self._stopped = False

    def begin(self, model: str, kind: str | None, body: bytes) -> Counting:
        """Begin to count a call. *kind*: one of `tokens/bodies.py`; none: its input cannot be counted."""
        return Counting(self, model, kind, body)

    def stop(self) -> None:
        """Let the processes go. What they have not counted, and what comes later, is not counted."""
        self._stopped = True
        for process in self._processes.values():
            process.end()

    def task(self, model: str, kind: str, *, large: bool = False) -> client.Task:
        """Begin a task of the process that is for it; where there can be none, the task is over."""
        process = self._processes.get(large)
        if process is None or process.ended:
            if self._stopped or (process is not None and time.monotonic() < process.none_before):
                return client.Task(None, 0, model, kind)
            process = client.Process(idle=self._idle, command=self._command, rest=self._rest)
            self._processes[large] = process
        return process.begin(model[:_LONGEST_MODEL], kind)


class Counting:
    """What may have to be counted of one call: its body, and the text of its answer as it is heard."""

    __slots__ = ("_body", "_estimator", "_heard", "_input", "_kind", "_model", "_output")

    def __init__(self, estimator: Estimator, model: str, kind: str | None, body: bytes) -> None:
        self._estimator = estimator
        self._model = model
        self._kind = kind
        self._body = body
        self._heard: bytearray | None = bytearray()
        """None: all is forgotten."""
        self._input: client.Task | None = None
        self._output: client.Task | None = None
        if len(body) > KEPT:
            self._hand_body()

    def hear(self, text: str) -> None:
        """Take more of the answer's text."""
        heard = self._heard
        if heard is not None:
            heard += text.encode("utf-8", "replace")
            if len(heard) > KEPT_TEXT:
                self._hand_heard(heard, last=False)

    def drop(self) -> None:
        """Forget all: the upstream told its usage, or nobody wants to know any more."""
        self._heard = None
        self._body = b""
        if self._input is not None:
            self._input.forget()
        if self._output is not None:
            self._output.forget()

    def finish(self) -> Counted:
        """Wait for the figures, while others go on. To be asked once: then all is forgotten."""
        heard = self._heard
        if heard is None:
            return Counted()
        try:
            if self._input is None:
                self._hand_body()
            if heard or self._output is not None:
                self._hand_heard(heard, last=True)
            with gevent.Timeout(self._estimator.patience, False):
                for task in (self._input, self._output):
                    if task is not None:
                        task.over.wait()
            return Counted(
                prompt_tokens=None if self._input is None else self._input.tokens,
                completion_tokens=0 if self._output is None else self._output.tokens,
            )
        finally:
            self.drop()

    def _hand_body(self) -> None:
        body, self._body = self._body, b""
        if self._kind:
            self._input = self._estimator.task(self._model, self._kind, large=len(body) > LARGE)
            self._input.more(body, last=True)

    def _hand_heard(self, heard: bytearray, *, last: bool) -> None:
        if self._output is None:
            self._output = self._estimator.task(self._model, wire.TEXT)
        self._output.more(bytes(heard), last=last)
        heard.clear()
