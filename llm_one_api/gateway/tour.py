"""Asks for what was made before, by its id: only the upstreams know which of them has made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llm_one_api.errors import GatewayError, UpstreamFailed
from llm_one_api.gateway import judging
from llm_one_api.gateway.answer import UNCOUNTED, Answer
from llm_one_api.targets import Target

NOT_FOUND = 404
_NOT_ITS = {NOT_FOUND: 1, 401: 0, 403: 0, 405: 0}
"""What an upstream says of something that another one has made, or that it has no such endpoint, or refuses our key:
the higher, the more it tells."""
_FAILED = 2
"""One that could not say it may be the one that has made it: that tells the most."""


class Tour:
    """Goes from one upstream to the next until one knows of it."""

    may_move = False
    """An answer that is one is the answer, also if it breaks off."""
    turn = UNCOUNTED

    def __init__(self, targets: Sequence[Target]) -> None:
        """Begin at the first of *targets*, of which there is at least one."""
        self._others: Iterator[Target] = iter(targets[1:])
        self.target = targets[0]
        self._held: tuple[int, Target, Answer] | None = None
        self._failed: GatewayError | None = None

    @property
    def charged(self) -> Target:
        """Where it is recorded to go."""
        return self.target

    def judge(self, answer: Answer, *, again: bool) -> Answer | None:  # noqa: ARG002 (a trip's)
        """Give the answer that is to be passed on. None: ask the next, `target`."""
        tells = _NOT_ITS.get(answer.status)
        if tells is None and judging.asks_elsewhere(answer.status):
            tells = _FAILED
        if tells is None:
            self._let_go()
            return answer
        if self._held is None or tells > self._held[0]:
            self._let_go()
            self._held = (tells, self.target, answer)
        else:
            answer.abort()
        return None if self._move() else self._end_of_it()

    def failed(self, error: GatewayError, *, again: bool) -> Answer | None:  # noqa: ARG002 (a trip's)
        """Go on after an upstream that gave no answer; give what is to be passed on if it was the last."""
        self._failed = self._failed or error
        return None if self._move() else self._end_of_it()

    def end(self) -> None:
        """Let go of what is held."""
        self._let_go()

    def _end_of_it(self) -> Answer:
        """Give what tells the most. Raises the failure of an upstream that gave no answer."""
        held, self._held = self._held, None
        if held is not None and (held[0] == _FAILED or self._failed is None):
            self.target = held[1]
            return held[2]
        if held is not None:
            held[2].abort()
        raise self._failed or UpstreamFailed("No upstream could be asked.")

    def _move(self) -> bool:
        target = next(self._others, None)
        if target is not None:
            self.target = target
        return target is not None

    def _let_go(self) -> None:
        if self._held is not None:
            self._held[2].abort()
            self._held = None
