"""Asks for what was made before, by its id: only the upstreams know which of them has made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llm_one_api.errors import GatewayError
from llm_one_api.gateway.answer import UNCOUNTED, Answer
from llm_one_api.targets import Target

NOT_FOUND = 404
_ELSEWHERE = frozenset({401, 403, NOT_FOUND, 405})
"""What an upstream says of something that another one has made, or that it has no such endpoint, or refuses our key."""


class Tour:
    """Goes from one upstream to the next until one knows of it; if none does, "not found" tells the most."""

    may_move = False
    """An answer that is one is the answer, also if it breaks off."""
    turn = UNCOUNTED

    def __init__(self, targets: Sequence[Target]) -> None:
        """Begin at the first of *targets*, of which there is at least one."""
        self._others: Iterator[Target] = iter(targets[1:])
        self.target = targets[0]
        self._held: Answer | None = None
        self._failed: GatewayError | None = None

    def judge(self, answer: Answer, *, again: bool) -> Answer | None:  # noqa: ARG002 (a trip's)
        """Give the answer that is to be passed on. None: ask the next, `target`."""
        held = self._held
        if answer.status not in _ELSEWHERE:
            self._let_go()
            self._others = iter(())
            self._failed = None
            return answer
        if held is None or answer.status == NOT_FOUND:
            self._let_go()
            self._held = answer
        else:
            answer.abort()
        return None if self._move() else self._held

    def failed(self, error: GatewayError, *, again: bool) -> Answer | None:  # noqa: ARG002 (a trip's)
        """Go on after an upstream that gave no answer; give what is to be passed on if it was the last."""
        self._failed = self._failed or error
        if self._move():
            return None
        held, self._held = self._held, None
        if held is None:
            raise self._failed
        return held

    def end(self) -> None:
        """Let go of what is held."""
        self._let_go()

    def _move(self) -> bool:
        target = next(self._others, None)
        if target is not None:
            self.target = target
        return target is not None

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.abort()
            self._held = None
