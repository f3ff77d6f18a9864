"""What is told: sums of calls, and what follows from them.

A large answer has thousands of them, and none refers to itself: so the search for cyclic garbage need not know them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from llm_one_api.stores.ledger.analysis.questions import Dimension
from llm_one_api.values import FAILED, Value

_MILLION = 10**6


class Sums(Value, frozen=True, kw_only=False, gc=False):
    """Sums of calls. A figure that is known of none of them is None where it follows from sums, and 0 as a sum.

    Those that stand in tables come first, in the order of `ROLLUP_COUNTS`: large answers are made by place.
    """

    requests: int = 0
    attempts: int = 0
    """Tries at upstreams."""
    sdk_retries: int = 0
    """Calls that the caller's SDK had tried before."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_tokens: int = 0
    image_output_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    images: int = 0
    with_prompt_tokens: int = 0
    """Calls whose input is known; and so on."""
    with_completion_tokens: int = 0
    with_tokens: int = 0
    estimated: int = 0
    """Calls whose tokens were counted by us."""
    partial: int = 0
    """Calls whose tokens are those of a cut answer."""
    audio_us: int = 0
    duration_us: int = 0
    with_duration: int = 0
    ttft_us: int = 0
    with_ttft: int = 0
    priced: int = 0
    unpriced: int = 0
    """Calls whose usage is known, and their cost is not."""
    streams: int = 0
    outcomes: Mapping[str, int] = {}
    """Calls by how they ended; those that there were, by name."""
    cost: Decimal | None = None
    """USD, of the calls that have a cost; None: none has."""

    @property
    def failed(self) -> int:
        """The calls that count as errors."""
        failed = 0
        for outcome, calls in self.outcomes.items():  # a plain loop: large answers have thousands of rows
            if outcome in FAILED:
                failed += calls
        return failed

    @property
    def error_rate(self) -> float | None:
        """Failed / (failed + success); None: there was neither."""
        failed = self.failed
        return _ratio(failed, failed + self.outcomes.get("success", 0), 6)

    @property
    def avg_tokens(self) -> float | None:
        """Tokens a call, of the calls whose total is known."""
        return _ratio(self.total_tokens, self.with_tokens, 3)

    @property
    def avg_duration(self) -> float | None:
        """Seconds a call, of the calls of which it is known."""
        return _ratio(self.duration_us, self.with_duration * _MILLION, 6)

    @property
    def avg_ttft(self) -> float | None:
        """Seconds until the first byte, of the calls of which it is known."""
        return _ratio(self.ttft_us, self.with_ttft * _MILLION, 6)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens put out in a second of a call: all that is known of, by the seconds of all calls that took any.

        So it is what callers saw on average, weighted by time. Sums do not tell which calls have both figures: the
        seconds of a call whose output is unknown, such as a timeout, count too.
        """
        if not self.with_completion_tokens:
            return None
        return _ratio(self.completion_tokens * _MILLION, self.duration_us, 3)

    @property
    def input_output_ratio(self) -> float | None:
        """Tokens put in for each that was put out; None: none was."""
        return _ratio(self.prompt_tokens, self.completion_tokens, 6) if self.with_prompt_tokens else None

    @property
    def unpriced_share(self) -> float | None:
        """How many of the calls that ought to have a cost have none; None: none ought to."""
        return _ratio(self.unpriced, self.priced + self.unpriced, 6)


def _ratio(part: int, whole: int, places: int) -> float | None:
    return round(part / whole, places) if whole else None


class Quantiles(Value, frozen=True, kw_only=True, gc=False):
    """The times, in seconds, that half, 95 % and 99 % of the calls took at most; 2.5 % off at most."""

    p50: float
    p95: float
    p99: float


class Row(Value, frozen=True, kw_only=True, gc=False):
    """The calls of one bucket and group."""

    bucket: datetime | None
    """Its begin, in the zone; None: the question has no buckets."""
    group: Mapping[Dimension, str | bool]
    sums: Sums
    duration: Quantiles | None = None
    """None: no call has one; or who asks tells calls apart by user, key or outcome, by which times are not kept."""
    ttft: Quantiles | None = None


class PeakHour(Value, frozen=True, kw_only=True):
    """The calls of one hour of the week."""

    weekday: int
    """0 is Monday."""
    hour: int
    sums: Sums
