"""The pages of the gateway, but for those of the analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_one_api.web.openapi.values import FIGURES, OF_MODEL
from llm_one_api.web.openapi.writing import (
    BOOLEAN,
    COUNT,
    COUNTS,
    TEXT,
    TIME,
    Schema,
    in_path,
    list_of,
    or_null,
    page,
    query,
    record,
    ref,
)

_SCOPE: Schema = {"type": "string", "enum": ["all", "own"]}
_MODEL = in_path("model", "A model's name.", "gpt-4o-mini")
_ANY: Schema = {"type": ["object", "null"], "description": "Null: it cannot be told just now."}
_SEEN: Mapping[str, Schema] = {"at": or_null(TIME), "window": COUNT, "processes": COUNT, "alone": BOOLEAN}
_TOTALS: Schema = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
_TIME: Schema = {"type": "string", "anyOf": [{"format": "date-time"}, {"maxLength": 0}]}
_NOT_READY = {
    "503": {
        "description": "No call should be sent here now.",
        "content": {"application/json": {"schema": record({"status": TEXT})}},
    }
}

PATHS: Mapping[str, Any] = {
    "/health/live": page("live_process", "Whether the process answers.", record({"status": TEXT}), key=False),
    "/health/ready": page(
        "ready",
        "Whether calls should be sent here; with a key also what is away, and how much waits.",
        record(
            {"status": TEXT, "missing": list_of(TEXT), "because": list_of(TEXT), **FIGURES},
            optional=("missing", "because", *FIGURES),
        ),
        key=None,
        more=_NOT_READY,
    ),
    "/v1/models": page(
        "models", "The models that the key may use.", record({"object": TEXT, "data": list_of(ref("Model"))})
    ),
    "/v1/models/{model}": page("model", "One of them.", ref("Model"), parameters=[_MODEL], fails=["404"]),
    "/v1/usage": page(
        "limits",
        "The limits that hold for the key, and how much of each is left.",
        record(
            {
                "object": TEXT,
                "key": TEXT,
                "user": TEXT,
                "group": or_null(TEXT),
                "model": or_null(TEXT),
                "exempt": BOOLEAN,
                "timezone": TEXT,
                "counters_whole": BOOLEAN,
                "limits": list_of(ref("Limit")),
            }
        ),
        parameters=[query("model", "This model's limits too.", TEXT)],
        fails=["404", "503"],
    ),
    "/v1/stats": page(
        "stats",
        "Sums by model, and the newest calls.",
        record(
            {
                "since": TIME,
                "until": TIME,
                "scope": _SCOPE,
                "models": list_of(ref("ModelStats")),
                "newest": list_of(ref("UsageRecord")),
            }
        ),
        parameters=[
            query("since", "The begin, included; else 24 hours before `until`.", _TIME),
            query("until", "The end, not included; else now.", _TIME),
            query("limit", "How many of the newest calls.", {"type": "integer", "minimum": 0, "maximum": 500}),
        ],
        fails=["400", "503"],
    ),
    "/v1/stats/memory": page(
        "memory",
        "The memory plugin's live figures of this run.",
        record(
            {
                "since": or_null(TEXT),
                "total_requests": COUNT,
                "models": {"type": "object", "additionalProperties": _TOTALS},
                "newest": list_of({"type": "object"}),
            }
        ),
        fails=["404", "503"],
    ),
    "/v1/stats/calls/{request_id}": page(
        "call",
        "One call's record.",
        ref("UsageRecord"),
        parameters=[in_path("request_id", "The answer's `x-request-id`.", "0193b3a0-6f2c-7cc1-8d0a-2f4f6f0a1b2c")],
        fails=["404", "503"],
    ),
    "/v1/stats/load_balancers": page(
        "loadBalancers",
        "How all models' upstreams do.",
        record({"object": TEXT, **_SEEN, "models": list_of(ref("LoadBalancer"))}),
        fails=["403"],
    ),
    "/v1/stats/models/{model}": page(
        "loadBalancer",
        "How one model's upstreams do.",
        record({"object": TEXT, **_SEEN, **OF_MODEL}),
        parameters=[_MODEL],
        fails=["403", "404"],
    ),
    "/v1/stats/pipeline": page(
        "pipeline",
        "The records' way, from this machine's journal to the plugins.",
        record(
            {
                "journal": record(
                    {
                        "bytes": or_null(COUNT),
                        "segments": or_null(COUNT),
                        "max_bytes": or_null(COUNT),
                        "full": BOOLEAN,
                        "on_full": TEXT,
                    }
                ),
                "relay": _ANY,
                "ledger": or_null(record({"last_seq": COUNT, "refused_records": COUNTS})),
                "consumers": or_null(
                    list_of(
                        record(
                            {
                                "name": TEXT,
                                "place": COUNT,
                                "behind": COUNT,
                                "failures": COUNT,
                                "error": or_null(TEXT),
                                "dead_letters": COUNT,
                            }
                        )
                    )
                ),
            }
        ),
        fails=["403"],
    ),
    "/v1/openapi.json": page("openapi", "This document.", {"type": "object", "required": ["openapi", "paths"]}),
}
"""By path."""
