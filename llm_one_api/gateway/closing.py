"""What a record says of its call's end, from what the answer told: whole, long or a stream."""

from __future__ import annotations

from collections.abc import Callable

from llm_one_api.dialects.told import NOTHING, Told
from llm_one_api.gateway.answer import TOTAL, Answer
from llm_one_api.gateway.counts import Fill
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.record import Entry
from llm_one_api.values import Outcome

_CUT: frozenset[Outcome] = frozenset({"truncated", "stream_error", "timeout", "client_gone", "aborted"})
"""The outcomes of an answer of which more would have come."""

_BROKE: frozenset[Outcome] = frozenset({"truncated", "stream_error", "timeout"})
"""Those that are the upstream's doing."""


def close(
    entry: Entry,
    answer: Answer,
    endpoint: Endpoint,
    outcome: Outcome,
    error: str | None,
    told: Told | None,
    *,
    complete: bool = False,
    hear: Callable[[], None] | None = None,
) -> None:
    """Close the record of a call that was answered.

    *complete*: all of the answer was read, whatever became of the caller, so that what it told of its usage is final.
    *hear* hands the answer's text on, as far as that was not done yet; it is called if tokens have to be counted.
    """
    if outcome in _BROKE and error != TOTAL:
        answer.turn.failed(error or outcome)
    told = told or NOTHING
    if not endpoint.metered:
        told = _unmetered(told)
    measured = answer.ready.dialect.measure(told)
    cut = outcome in _CUT and not complete
    count = _fill(endpoint, answer, outcome, told, cut=cut, known=measured.usage is not None)
    if count is not None and count.output and entry.counting is not None and hear is not None:
        hear()
    entry.close(
        outcome,
        status=answer.status,
        error=error,
        told=told,
        measured=measured,
        cut=cut,
        count=count,
    )


def _fill(
    endpoint: Endpoint, answer: Answer, outcome: Outcome, told: Told, *, cut: bool, known: bool
) -> Fill | None:  # fmt: skip
    """Tell how counted tokens are put into the record; None: none are needed."""
    if answer.status >= 400 or told.unfinished or (known and not cut):  # noqa: PLR2004
        return None  # an error uses nothing; a response in the background goes on
    return Fill(kind="partial" if outcome in _CUT else "estimated", output=endpoint.counts_output)


def _unmetered(told: Told) -> Told:
    """Leave out what was used and counted before."""
    return Told(model=told.model, finish_reason=told.finish_reason, error=told.error)
