"""What is asked of the sums."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from msgspec import structs

from llm_one_api.stores.ledger.sums import QUARTER, quarter_of
from llm_one_api.values import Value

Dimension = Literal["model", "user", "key", "endpoint", "stream", "upstream", "outcome"]
"""By what calls are told apart. The upstream of a call that had none is an empty text."""
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

Bucket = Literal["15m", "hour", "day", "month"]
"""Into which pieces the time is cut: of local time in the question's zone, whatever its clocks do."""
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)

Rank = Literal["requests", "tokens", "cost", "errors"]
"""What makes a row come first. `tokens` are input and output together, `errors` what counts in the error rate."""


class NotAnswerable(Exception):
    """No table answers the question in time. The text says what to ask instead."""


class Question(Value, frozen=True, kw_only=True):
    """Calls admitted from *since* until before *until*."""

    since: datetime
    until: datetime
    """Both aware. Sums are of whole quarters of an hour, and a quarter counts where it begins; but see `exact`."""
    zone: ZoneInfo
    bucket: Bucket | None = None
    """None: all of the time in one."""
    group_by: tuple[Dimension, ...] = ()
    where: Mapping[Dimension, tuple[str, ...]] = {}
    """Only calls that have one of the values, in each dimension named. `stream` as "true" or "false"."""
    key: str | None = None
    """Only the calls of this key, by its fingerprint, whatever *where* says: what a caller without rights may see."""
    exact: bool = False
    """Read what is left of a quarter at both ends from the records, as far as they are there: for short stretches."""
    percentiles: bool = True
    """Tell them too, where they are known. They cost as much as the rest."""

    def in_whole_quarters(self) -> Question:
        """Widen the time to whole quarters of an hour: nothing that is asked for is missing then."""
        begin, end = quarter_of(self.since), quarter_of(self.until)
        return structs.replace(self, since=begin, until=end if end == self.until else end + QUARTER)


def of_all_time(*group_by: Dimension) -> Question:
    """Ask for all calls that there ever were, without percentiles."""
    since, until = datetime(1970, 1, 3, tzinfo=UTC), datetime(9998, 12, 1, tzinfo=UTC)
    return Question(since=since, until=until, zone=ZoneInfo("UTC"), group_by=group_by, percentiles=False)
