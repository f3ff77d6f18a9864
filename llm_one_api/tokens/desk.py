"""The work on the desk of the process that counts: many tasks, a slice of each in turn. Messages in, messages out."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Iterator

from tiktoken import Encoding

from llm_one_api.tokens.count import MISFITS, input_steps
from llm_one_api.tokens.slices import Slicer
from llm_one_api.tokens.wire import TEXT, Answer, Counted, Done, Drop, Piece, Request

Load = Callable[[str], Encoding]
"""Gives the encoding of a model."""


class Desk:
    """All tasks of the process. One that has work is in the ring, and its turn is a slice."""

    def __init__(self, load: Load) -> None:
        """Begin with none; *load* is asked for an encoding when there is something to count with it."""
        self._load = load
        self._tasks: dict[int, _Text | _Body] = {}
        self._ring: deque[_Text | _Body] = deque()

    @property
    def busy(self) -> bool:
        """Whether there is anything to do before the next message."""
        return bool(self._ring)

    def take(self, message: Request) -> None:
        """Put more on the desk, or take a task off it."""
        task = self._tasks.get(message.task)
        if isinstance(message, Drop):
            if task is not None:
                self._forget(task)
            return
        if task is None:
            make = _Text if message.kind == TEXT else _Body
            task = self._tasks[message.task] = make(message, self._load)
        idle = not task.has_work
        task.add(message)
        if idle and task.has_work:
            self._ring.append(task)

    def step(self) -> list[Answer]:
        """Do a slice of the next task's work; give what there is to tell of it."""
        task = self._ring.popleft()
        if task.over:
            return []  # it was dropped
        answers = task.step()
        if task.over:
            self._forget(task)
        elif task.has_work:
            self._ring.append(task)
        return answers

    def _forget(self, task: _Text | _Body) -> None:
        task.over = True
        del self._tasks[task.number]


class _Text:
    """A text that is counted as it comes: of what was counted only an unfinished end is kept."""

    over = False

    def __init__(self, first: Piece, load: Load) -> None:
        self.number = first.task
        self._model = first.model
        self._load = load
        self._waiting: deque[Piece] = deque()
        self._slicer = Slicer()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._slices: Iterator[str] | None = None
        self._tokens = 0

    @property
    def has_work(self) -> bool:
        """Whether something has come that is not counted."""
        return bool(self._waiting)

    def add(self, piece: Piece) -> None:
        """Take what comes next of it."""
        self._waiting.append(piece)

    def step(self) -> list[Answer]:
        """Count a slice."""
        encoding = self._load(self._model)
        piece = self._waiting[0]
        if self._slices is None:
            self._slices = self._slicer.feed(self._decoder.decode(piece.data, final=piece.last))
        part = next(self._slices, None)
        if part is not None:
            self._tokens += len(encoding.encode_ordinary(part))
            return []
        self._slices = None
        self._waiting.popleft()
        if not piece.last:
            return [Done(self.number, len(piece.data))]
        self._tokens += len(encoding.encode_ordinary(self._slicer.end()))
        self.over = True
        return [Counted(self.number, self._tokens)]


class _Body:
    """A request's body, which is read when all of it is there."""

    over = False

    def __init__(self, first: Piece, load: Load) -> None:
        self.number = first.task
        self._model = first.model
        self._kind = first.kind
        self._load = load
        self._body = bytearray()
        self._steps: Iterator[int] | None = None
        self._tokens = 0
        self.has_work = False

    def add(self, piece: Piece) -> None:
        """Take what comes next of it."""
        self._body += piece.data
        self.has_work = piece.last

    def step(self) -> list[Answer]:
        """Count a bit."""
        if self._steps is None:
            self._steps = input_steps(self._kind, self._body, self._load(self._model))
        try:
            self._tokens += next(self._steps)
        except StopIteration:
            return self._end(self._tokens)
        except MISFITS:
            return self._end(None)
        return []

    def _end(self, tokens: int | None) -> list[Answer]:
        self.over = True
        return [Counted(self.number, tokens)]
