"""How the present moment is laid out: what is under way, and how many calls came in the last minute."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.reporting import sheet
from llm_one_api.stores.upstreams.live import WINDOW, live
from llm_one_api.stores.upstreams.messages import Told
from llm_one_api.stores.upstreams.overview import ModelShown, local, look

COLUMNS = ("at", "scope", "processes", "alone", "in_flight", "requests", "qps", "waiting")


def of_told(told: Told, zone: ZoneInfo, *, key: str | None, alone: bool) -> dict[str, Any]:
    """Lay out what processes have told; *key*: of that key's calls only; *alone*: only one of them could be heard."""
    now = live(told, key=key)
    models = look(told).models if key is None else None
    return {
        "object": "stats.live",
        "scope": "all" if key is None else "own",
        "at": local(told.now / 10**6, zone),
        "timezone": zone.key,
        "window": WINDOW,
        "processes": now.processes,
        "alone": alone,
        "in_flight": now.in_flight,
        "requests": now.requests,
        "qps": now.qps,
        "waiting": None if models is None else sum(model.waiting for model in models),
        "models": None if models is None else [_model(model) for model in models],
    }


def written(page: dict[str, Any], *, as_csv: bool) -> bytes:
    """Write it."""
    if not as_csv:
        return msgspec.json.encode(page)
    return "".join(sheet.rows(COLUMNS, [[page[name] for name in COLUMNS]])).encode()


def _model(model: ModelShown) -> dict[str, Any]:
    upstreams = [{"name": one.name, "state": one.state, "in_flight": one.in_flight} for one in model.upstreams]
    return {"model": model.model, "waiting": model.waiting, "upstreams": upstreams}
