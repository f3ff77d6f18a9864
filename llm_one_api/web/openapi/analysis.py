"""The pages of the analysis, from the same lists that they read parameters and lay figures out by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_one_api.reporting import layout, parameters
from llm_one_api.reporting.parameters import RANKS, Parameter
from llm_one_api.stores.ledger.analysis.questions import BUCKETS, DIMENSIONS
from llm_one_api.web.openapi.writing import (
    BOOLEAN,
    COUNT,
    NUMBER,
    TEXT,
    TIME,
    Schema,
    list_of,
    or_null,
    page,
    query,
    record,
    ref,
)

_FIGURES: Mapping[str, Schema] = {field.name: {**field.schema, "description": field.says} for field in layout.FIELDS}
_TIMES: Mapping[str, Schema] = {
    name: {"type": ["number", "null"], "description": "Seconds; null: it is not known by what was asked for."}
    for name in layout.TIMES
}
_GROUP: Mapping[str, Schema] = {name: or_null(BOOLEAN if name == "stream" else TEXT) for name in DIMENSIONS}
_ROW = {"bucket": TIME, **_GROUP, **_FIGURES, **_TIMES}
_APART = ("bucket", *_GROUP)
_HEAD: Mapping[str, Schema] = {
    "object": TEXT,
    "scope": {"type": "string", "enum": ["all", "own"]},
    "from": TIME,
    "to": TIME,
    "timezone": TEXT,
}
_GROUP_BY = list_of({"type": "string", "enum": list(DIMENSIONS)})

SCHEMAS: Mapping[str, Schema] = {
    "Sums": record(_ROW, optional=_APART),
    "Ranked": record({"rank": COUNT, "share": or_null(NUMBER), **_ROW}, optional=_APART),
    "PeakHour": record(
        {
            "weekday": {**COUNT, "maximum": 6, "description": "0 is Monday."},
            "hour": {**COUNT, "maximum": 23},
            **_FIGURES,
        }
    ),
}


def _parameters(of: Sequence[Parameter]) -> list[Mapping[str, Any]]:
    return [_parameter(one) for one in of]


def _parameter(one: Parameter) -> Mapping[str, Any]:
    more: dict[str, Any] = {} if one.example is None else {"example": one.example}
    if one.has_many:
        more |= {"style": "form", "explode": not one.joined}
    return query(one.name, one.says, one.schema, **more)


def _analysis(name: str, says: str, tells: Schema, of: Sequence[Parameter], **more: Any) -> Mapping[str, Any]:
    fails = more.pop("fails", ("400", "503"))
    return page(name, says, tells, parameters=_parameters(of), fails=fails, csv=True, tag="analysis", **more)


PATHS: Mapping[str, Any] = {
    "/v1/stats/usage": _analysis(
        "usage",
        "Sums of calls, by stretches of time and by what tells calls apart.",
        record(
            {
                **_HEAD,
                "bucket": {"type": ["string", "null"], "enum": [*BUCKETS, None]},
                "group_by": _GROUP_BY,
                "rows": list_of(ref("Sums")),
            }
        ),
        parameters.USAGE,
    ),
    "/v1/stats/top": _analysis(
        "top",
        "Who uses most, which models are popular.",
        record(
            {
                **_HEAD,
                "by": {"type": "string", "enum": list(RANKS)},
                "group_by": _GROUP_BY,
                "rows": list_of(ref("Ranked")),
            }
        ),
        parameters.TOP_LIST,
    ),
    "/v1/stats/peak-hours": _analysis(
        "peakHours",
        "In which hours of the week calls come.",
        record({**_HEAD, "rows": list_of(ref("PeakHour"))}),
        parameters.PEAK_HOURS,
    ),
    "/v1/stats/requests": _analysis(
        "requests",
        "The calls that were admitted last, page by page.",
        record(
            {
                **_HEAD,
                "from": or_null(TIME),
                "to": or_null(TIME),
                "requests": list_of(ref("UsageRecord")),
                "next": or_null(TEXT),
            }
        ),
        parameters.REQUESTS,
    ),
    "/v1/stats/live": _analysis(
        "live",
        "What is under way now, and how many calls came in the last minute, over all gateway processes.",
        record(
            {
                "object": TEXT,
                "scope": _HEAD["scope"],
                "at": TIME,
                "timezone": TEXT,
                "window": {**COUNT, "description": "Seconds that `requests` looks back on."},
                "processes": COUNT,
                "alone": {**BOOLEAN, "description": "Whether only the process that answers was counted."},
                "in_flight": COUNT,
                "requests": COUNT,
                "qps": NUMBER,
                "waiting": or_null(COUNT),
                "models": or_null(
                    list_of(
                        record(
                            {
                                "model": TEXT,
                                "waiting": COUNT,
                                "upstreams": list_of(record({"name": TEXT, "state": TEXT, "in_flight": COUNT})),
                            }
                        )
                    )
                ),
            }
        ),
        parameters.LIVE,
        fails=("400",),
    ),
}
