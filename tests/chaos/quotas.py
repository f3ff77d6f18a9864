"""The limits of a run, which let every call pass, and what was counted for them: beside the single records."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llm_one_api.broker import JOBS, sender
from llm_one_api.limits.charging import charge_of
from llm_one_api.stores.limits import LimitStore
from llm_one_api.values import UsageRecord

PREFIX = "oneapi:"
_MUCH = 10**12
_DOLLARS = 1_000_000
_EVERY_UNIT = {"tokens": _MUCH, "requests": _MUCH, "cost_usd": _DOLLARS}

LIMITS: Mapping[str, Any] = {
    "limits": {
        "each_user": {
            "requests_per_minute": 100_000, "tokens_per_minute": _MUCH, "max_concurrent": 1000,
            "day": _EVERY_UNIT, "month": _EVERY_UNIT, "total": _EVERY_UNIT,
        },
        "everyone": {"total": _EVERY_UNIT},
    },
    "quota": {"lease": 6, "when_unavailable": "allow"},
    "pricing": {"demo*": {"per": "1M", "input": "0.15", "output": "0.60"}},
}  # fmt: skip
"""Sections of the config."""
_HINT_SECONDS = 5.0


class Quotas:
    """Looks at the limit store at *url*, and has the quota check look when something is not as it should be."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._hint_at = 0.0

    def differences(self, records: Sequence[UsageRecord]) -> Iterator[str]:
        """Say what is wrong: something is reserved or pending still, or what is booked is not what *records* say."""
        store = LimitStore(self._url, PREFIX, timeout=5)
        try:
            found = store.windows(store.all_windows())
        finally:
            store.close()
        expected: Counter[tuple[str, str]] = Counter()
        for charge in filter(None, map(charge_of, records)):
            for window in charge.windows:
                expected[window, "tokens"] += charge.tokens
                expected[window, "requests"] += 1
                expected[window, "nanos"] += charge.nanos
        wrong = []
        for window in sorted(found.keys() | {window for window, _ in expected}):
            counts = found.get(window)
            booked = tuple(expected[window, unit] for unit in ("tokens", "requests", "nanos"))
            if counts is None or counts.booked != booked:
                wrong.append(f"{window} has booked {counts and tuple(counts.booked)}, the records say {booked}")
            if counts is not None and any(counts.held):
                wrong.append(f"{window} has something reserved still: {tuple(counts.held)}")
            if counts is not None and any(counts.pending):
                wrong.append(f"{window} has something pending still: {tuple(counts.pending)}")
        if not expected:
            wrong.append("no record is charged to any quota")
        if wrong:
            self._hasten()
        yield from wrong

    def _hasten(self) -> None:
        """Ask for the quota check as the relay does, for beat's next one may be a minute away."""
        now = time.monotonic()
        if now >= self._hint_at:
            self._hint_at = now + _HINT_SECONDS
            with sender(self._url, PREFIX) as celery:
                celery.send_task("quota.check", queue=JOBS, expires=_HINT_SECONDS)
