"""What can be asked of the books: `asking.py` reads it, OpenAPI shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from llm_one_api.stores.ledger.analysis.questions import BUCKETS, DIMENSIONS, Rank
from llm_one_api.values import Outcome, Value

Format = Literal["json", "csv"]

RANKS: tuple[Rank, ...] = get_args(Rank)
FORMATS: tuple[Format, ...] = get_args(Format)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
BOOLEANS = ("true", "false")

TOP, MOST_TOP = 10, 1000
CALLS, MOST_CALLS = 50, 500
CURSOR = r"[0-9]{1,17}-[0-9]{1,18}"
"""A place between calls: microseconds since 1970, and the call's place in the ledger."""
FINGERPRINT = r"key_[0-9a-f]{8}"
"""What keys are named by."""
TIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


class Parameter(Value, frozen=True, kw_only=True):
    """Something that can be asked for."""

    name: str
    says: str
    """What it means, in Markdown."""
    schema: Mapping[str, Any]
    """What its values may be, as JSON Schema."""
    example: Any = None
    joined: bool = False
    """Whether several values are joined by commas; else each is a parameter of its own."""

    @property
    def has_many(self) -> bool:
        """Whether it may have several values."""
        return bool(self.schema["type"] == "array")


def _one_of(choices: tuple[str, ...], default: str | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "enum": list(choices)}
    return schema if default is None else schema | {"default": default}


def _number(default: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


def _any_of(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_NAME = {"type": "string", "minLength": 1}
_FINGERPRINT = {"type": "string", "pattern": f"^{FINGERPRINT}$"}
_TIME = {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}, {"pattern": f"^{TIME}$"}]}

FROM = Parameter(
    name="from",
    says="The begin, included: a time or a day such as `2026-11-24T08:00` or `2026-11-24`; without an offset in `tz`.",
    schema=_TIME,
    example="2026-11-24",
)
TO = Parameter(
    name="to",
    says="The end, not included; a day means to its end. Else it is now.",
    schema=_TIME,
    example="2026-11-30",
)
TZ = Parameter(
    name="tz",
    says="The time zone of days, hours and of the answer's times, such as `Europe/Berlin`; else the config's.",
    schema={"type": "string", "pattern": "^[A-Za-z0-9_+/-]{1,64}$"},
    example="Asia/Shanghai",
)
BUCKET = Parameter(
    name="bucket",
    says="Sums by stretches of time, which begin at whole ones in `tz`; else one sum. Empty ones are left out.",
    schema=_one_of(BUCKETS),
    example="day",
)
GROUP_BY = Parameter(
    name="group_by",
    says="By what sums are kept apart, joined by commas.",
    schema={"type": "array", "items": _one_of(DIMENSIONS), "uniqueItems": True},
    example=["model", "user"],
    joined=True,
)
BY = Parameter(
    name="by",
    says="What decides who is on top.",
    schema=_one_of(RANKS, "requests"),
    example="cost",
)
LIMIT_OF_TOP = Parameter(name="limit", says="How many, at most.", schema=_number(TOP, MOST_TOP), example=5)
LIMIT_OF_CALLS = Parameter(name="limit", says="How many, at most.", schema=_number(CALLS, MOST_CALLS), example=20)
BEFORE = Parameter(
    name="before",
    says="Go on behind here: `next` of the answer before.",
    schema={"type": "string", "pattern": f"^{CURSOR}$"},
)
FORMAT = Parameter(
    name="format",
    says="How to answer; else `Accept` says it.",
    schema=_one_of(FORMATS, "json"),
    example="csv",
)
FILTERS = (
    Parameter(name="model", says="Only calls to this model, or to any of several.", schema=_any_of(_NAME)),
    Parameter(name="user", says="Only this user's calls.", schema=_any_of(_NAME)),
    Parameter(name="key", says="Only this key's calls: its fingerprint.", schema=_any_of(_FINGERPRINT),
              example=["key_3f9a1c22"]),
    Parameter(name="endpoint", says="Only this endpoint's calls, such as `chat`.", schema=_any_of(_NAME)),
    Parameter(name="stream", says="Only streams, or only what is none.", schema=_any_of({"type": "boolean"})),
    Parameter(
        name="upstream",
        says="Only calls that this upstream answered; an empty one: that reached none.",
        schema=_any_of({"type": "string"}),
    ),
    Parameter(name="outcome", says="Only calls that ended so.", schema=_any_of(_one_of(OUTCOMES))),
)  # fmt: skip
"""One for each dimension."""

USAGE = (FROM, TO, TZ, BUCKET, GROUP_BY, *FILTERS, FORMAT)
TOP_LIST = (BY, GROUP_BY, LIMIT_OF_TOP, FROM, TO, TZ, *FILTERS, FORMAT)
PEAK_HOURS = (FROM, TO, TZ, *FILTERS, FORMAT)
REQUESTS = (FROM, TO, TZ, *FILTERS, LIMIT_OF_CALLS, BEFORE, FORMAT)
LIVE = (TZ, FORMAT)
