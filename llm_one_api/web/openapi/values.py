"""What several pages tell of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_one_api.errors import RateLimited
from llm_one_api.stores.ledger.summary import ModelStats
from llm_one_api.values import UsageRecord
from llm_one_api.web.lookout import Figures
from llm_one_api.web.openapi.writing import (
    BOOLEAN,
    COUNT,
    COUNTS,
    NUMBER,
    TEXT,
    TIME,
    USD,
    Schema,
    list_of,
    or_null,
    record,
    ref,
)

_STATES = ("healthy", "trial", "ejected", "paused", "off")
_QUANTILES = record({"p50": or_null(NUMBER), "p95": or_null(NUMBER)})
_AMOUNT: Schema = {"anyOf": [COUNT, USD], "description": "Of `cost_usd` a text, of all else a number."}

FIGURES: Mapping[str, Schema] = msgspec.json.schema_components([Figures])[1]["Figures"]["properties"]
"""What `/health/ready` tells to those with a key."""

UPSTREAM = record(
    {
        "name": TEXT,
        "state": {"type": "string", "enum": list(_STATES)},
        "why": or_null(TEXT),
        "since": or_null(TIME),
        "until": or_null(TIME),
        "kept": BOOLEAN,
        "weight": COUNT,
        "max_concurrent": or_null(COUNT),
        "in_flight": COUNT,
        "requests": COUNT,
        "failures": COUNT,
        "share": or_null(NUMBER),
        "ttft": _QUANTILES,
        "duration": _QUANTILES,
        "last_error": or_null(record({"code": TEXT, "status": or_null(COUNT), "at": TIME})),
    }
)
OF_MODEL: Mapping[str, Schema] = {
    "model": TEXT,
    "strategy": TEXT,
    "fallbacks": list_of(TEXT),
    "waiting": COUNT,
    "requests": COUNT,
    "upstreams": list_of(ref("Upstream")),
}
LIMIT = record(
    {
        "scope": TEXT,
        "kind": TEXT,
        "period": or_null(TEXT),
        "limit": _AMOUNT,
        "used": _AMOUNT,
        "reserved": _AMOUNT,
        "remaining": _AMOUNT,
        "resets_at": or_null(TIME),
        "resets_in": or_null(NUMBER),
        "boost": or_null(record({"amount": _AMOUNT, "until": TIME})),
        "action": or_null(TEXT),
    }
)
MODEL = record({"id": TEXT, "object": TEXT, "created": COUNT, "owned_by": TEXT})
ERROR = record(
    {
        "error": record(
            {
                "message": TEXT,
                "type": {"type": "string", "examples": ["invalid_request_error", RateLimited.code]},
                "param": or_null(TEXT),
                "code": or_null(TEXT),
            }
        )
    }
)


def _of_structs() -> Mapping[str, Any]:
    """Write down what is told as it is kept. Its times are in a zone, and its amounts are texts."""
    schemas: dict[str, Any] = msgspec.json.schema_components(
        [UsageRecord, ModelStats], ref_template="#/components/schemas/{name}"
    )[1]
    call, model = schemas["UsageRecord"]["properties"], schemas["ModelStats"]["properties"]
    call["at"] = TIME
    call["usage_raw"] = {"type": ["object", "null"], "description": "The provider's own usage object, as it came."}
    for properties, names in ((call, ("cost", "quota_cost")), (model, ("cost",))):
        for name in names:
            properties[name] = or_null(USD)
    model["outcomes"] = COUNTS
    return schemas


SCHEMAS: Mapping[str, Schema] = {
    **_of_structs(),
    "Error": ERROR,
    "Limit": LIMIT,
    "Model": MODEL,
    "Upstream": UPSTREAM,
    "LoadBalancer": record(OF_MODEL),
}
