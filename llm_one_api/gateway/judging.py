"""What an upstream's answer says: of its health, and whether another one should be asked.

Nothing is asked again that the caller has to change: a 4xx but for those below is the caller's to see.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

TOO_MANY = 429
CONFLICT = 409
NOT_THERE = 501
ELSEWHERE = frozenset({401, 403, 408, CONFLICT, TOO_MANY})
"""What another upstream may answer otherwise, beside all from 500 on: our key is refused, it is late, busy or full."""
TOO_LONG = frozenset({400, 413})
"""What an upstream says of a context that is too long for its model."""
PAUSE = 2.0
"""Seconds that an upstream is given that does not say how long it wants no calls."""
_NO_USE = 300
_ERROR, _ILL = 400, 500


def asks_elsewhere(status: int) -> bool:
    """Whether another upstream is to be asked after an answer with *status*."""
    return status >= _ILL or status in ELSEWHERE or _NO_USE <= status < _ERROR


def is_ill(status: int) -> bool:
    """Whether an answer with *status* counts against its upstream's health."""
    return asks_elsewhere(status) and status not in {TOO_MANY, CONFLICT, NOT_THERE}


def pause_of(headers: Mapping[str, str], now: float | None = None) -> float:
    """Read how many seconds a 429 wants no calls for: `retry-after-ms`, or `retry-after` as seconds or as a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if not text:
            continue
        try:
            seconds = float(text) / unit
        except ValueError:
            seconds = _until(text, time.time() if now is None else now)
        if 0 <= seconds < float("inf"):
            return seconds
    return PAUSE


def _until(text: str, now: float) -> float:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError):
        return -1.0
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
