"""Makes a question to the books of what a caller gave as texts: the same for pages and the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.reporting import parameters
from llm_one_api.reporting.parameters import BOOLEANS, FINGERPRINT, FORMATS, OUTCOMES, RANKS
from llm_one_api.reporting.reading import Reader, Texts
from llm_one_api.stores.ledger.analysis.latest import Cursor
from llm_one_api.stores.ledger.analysis.questions import BUCKETS, DIMENSIONS, Bucket, Dimension, Question, Rank
from llm_one_api.stores.ledger.slots import local_hour
from llm_one_api.stores.ledger.sums import QUARTER, quarter_of
from llm_one_api.values import Value

DAY = timedelta(days=1)
PEAK_WINDOW = timedelta(days=28)
"""Four of each day of the week."""
MOST_BUCKETS = 40_000
"""A year of quarters, a century of days."""
NUL, REPLACEMENT = "\0", "\N{REPLACEMENT CHARACTER}"

_LENGTHS: Mapping[Bucket, timedelta] = {
    "15m": QUARTER,
    "hour": timedelta(hours=1),
    "day": DAY,
    "month": timedelta(days=28),
}


class Top(Value, frozen=True, kw_only=True):
    """Who is on top."""

    question: Question
    by: Rank
    limit: int


class Calls(Value, frozen=True, kw_only=True):
    """The calls that were admitted last."""

    zone: ZoneInfo
    since: datetime | None
    until: datetime | None
    where: Mapping[Dimension, tuple[str, ...]]
    key: str | None
    limit: int
    before: Cursor | None


class Asking:
    """Reads what one caller asks for. All methods raise NotUnderstood, with every fault."""

    def __init__(self, given: Texts, zone: ZoneInfo, *, key: str | None = None, now: datetime | None = None) -> None:
        """Read *given*; times without an offset are in *zone* unless it says another; *key*: only that key's calls."""
        self._given = given
        self._zone = zone
        self.key = key
        """Whose calls are told of; None: everybody's."""
        self._now = now or datetime.now(UTC)

    def usage(self) -> Question:
        """Read what `usage` is asked for."""
        reader = Reader(self._given, parameters.USAGE)
        bucket = reader.choice("bucket", BUCKETS)
        question = self._question(reader, DAY, bucket, reader.choices("group_by", DIMENSIONS))
        _end(reader)
        return question

    def top(self) -> Top:
        """Read what `top` is asked for."""
        reader = Reader(self._given, parameters.TOP_LIST)
        by = reader.choice("by", RANKS) or "requests"
        group_by = reader.choices("group_by", DIMENSIONS) or ("model",)
        limit = reader.number("limit", parameters.TOP, parameters.MOST_TOP)
        question = self._question(reader, DAY, None, group_by)
        _end(reader)
        return Top(question=question, by=by, limit=limit)

    def peak_hours(self) -> Question:
        """Read what `peak-hours` is asked for."""
        reader = Reader(self._given, parameters.PEAK_HOURS)
        question = self._question(reader, PEAK_WINDOW, None, ())
        _end(reader)
        # It is told by whole hours, so those that the ends lie in are in it; of four weeks each hour counts four times.
        until = _end_of("hour", question.until, question.zone)
        is_four_weeks = question.until - question.since == PEAK_WINDOW
        since = until - PEAK_WINDOW if is_four_weeks else _begin("hour", question.since, question.zone)
        return msgspec.structs.replace(question, since=since, until=until, percentiles=False)

    def calls(self) -> Calls:
        """Read what `requests` is asked for."""
        reader = Reader(self._given, parameters.REQUESTS)
        zone = reader.zone("tz", self._zone)
        since, until = reader.time("from", zone), reader.time("to", zone, end=True)
        _in_order(reader, since, until)
        calls = Calls(
            zone=zone,
            since=since,
            until=until,
            where=_where(reader),
            key=self.key,
            limit=reader.number("limit", parameters.CALLS, parameters.MOST_CALLS),
            before=reader.cursor("before"),
        )
        _end(reader)
        return calls

    def live(self) -> ZoneInfo:
        """Read what `live` is asked for: the zone of its times."""
        reader = Reader(self._given, parameters.LIVE)
        zone = reader.zone("tz", self._zone)
        _end(reader)
        return zone

    def _question(
        self, reader: Reader, window: timedelta, bucket: Bucket | None, group_by: tuple[Dimension, ...]
    ) -> Question:
        zone = reader.zone("tz", self._zone)
        # Now lies in a quarter that is still being added to: it counts as a whole, which costs no look at records.
        until = reader.time("to", zone, end=True) or quarter_of(self._now) + QUARTER
        since = reader.time("from", zone) or quarter_of(until) - window
        _in_order(reader, since, until)
        if bucket is not None and (until - since) / _LENGTHS[bucket] > MOST_BUCKETS:
            reader.wrong("bucket", f"`bucket={bucket}` would cut that time into more than {MOST_BUCKETS} pieces.")
        if bucket in {"15m", "hour"}:  # these are told as wholes
            since, until = _begin(bucket, since, zone), _end_of(bucket, until, zone)
        return Question(
            since=since,
            until=until,
            zone=zone,
            bucket=bucket,
            group_by=group_by,
            where=_where(reader),
            key=self.key,
            exact=True,
        )


def _begin(bucket: Bucket, at: datetime, zone: ZoneInfo) -> datetime:
    """Give the begin of the bucket that *at* lies in, a quarter or an hour."""
    return quarter_of(at) if bucket == "15m" else local_hour(at, zone)


def _end_of(bucket: Bucket, at: datetime, zone: ZoneInfo) -> datetime:
    """Give *at* where a bucket begins then, else the end of the one that it lies in."""
    begin = _begin(bucket, at, zone)
    return at if begin == at else max(at, begin + _LENGTHS[bucket])


def _end(reader: Reader) -> None:
    reader.choice("format", FORMATS)
    reader.check()


def _in_order(reader: Reader, since: datetime | None, until: datetime | None) -> None:
    if since is not None and until is not None and since >= until:
        reader.wrong("from", "`from` must be before `to`, which is now unless it is given.")


def _where(reader: Reader) -> dict[Dimension, tuple[str, ...]]:
    choices: dict[Dimension, Sequence[str]] = {"stream": BOOLEANS, "outcome": OUTCOMES}
    where: dict[Dimension, tuple[str, ...]] = {}
    for name in DIMENSIONS:
        values = reader.names(name, choices.get(name), empty=name == "upstream")
        if values is None:
            continue
        if name == "key" and not all(re.fullmatch(FINGERPRINT, value) for value in values):
            # It is not repeated: it may be a key itself.
            reader.wrong("key", "`key` takes a key's fingerprint, such as key_3f9a1c22, and never the key itself.")
        where[name] = tuple([value.replace(NUL, REPLACEMENT) for value in values])  # as the ledger keeps it
    return where
