"""The gateway under test, as its callers see it: its models, and the records that it shows."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from llm_one_api.conformance.client import Line, Reply

Record = dict[str, Any]
RECORDED_WITHIN = 15.0
"""Seconds after a call in which its record must be there."""
SETTLED_WITHIN = 5.0
"""Seconds more in which it must have become what it is to be: usage that has to be counted comes after."""
POLL = 0.1
_REFUSED = {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}


class Gateway:
    """Where it is, with which keys it is called, and what of it can be seen."""

    def __init__(
        self, url: str, key: str, drain_key: str | None = None, kill: Callable[[], None] | None = None
    ) -> None:
        """Ask it nothing yet. *kill* ends its serving processes as `kill -9` does, if it is ours to do that."""
        self.url = url.rstrip("/")
        self.key = key
        self.drain_key = drain_key
        self.kill = kill
        self.models: frozenset[str] = frozenset()
        """Those that the key may use."""
        self.recorded_within, self.settled_within = RECORDED_WITHIN, SETTLED_WITHIN
        self.hidden: str | None = None
        """Why records cannot be read; None: they can."""

    def look(self) -> None:
        """See what there is. Raises OSError if nobody answers, LookupError with a sentence if the key is refused."""
        answer = self.get("/v1/models")
        if answer.status != http.HTTPStatus.OK:
            why = "is the key right?" if answer.status in _REFUSED else "is it a gateway's address, without a path?"
            raise LookupError(f"GET /v1/models answered {answer.status}: {why}")
        self.models = frozenset(str(model["id"]) for model in (answer.json or {}).get("data", []))
        probe = self.get("/v1/stats/calls/conformance-probe")
        known = (probe.json or {}).get("error", {}).get("code") if isinstance(probe.json, dict) else None
        if probe.status != http.HTTPStatus.NOT_FOUND or known != "unknown_call":
            self.hidden = f"GET /v1/stats/calls/… answered {probe.status}, so no record can be read"

    def get(self, path: str, key: str | None = None) -> Reply:
        """Ask for a page."""
        line = Line(self.url)
        try:
            line.send("GET", path, {"Authorization": f"Bearer {key or self.key}"}, ())
            return line.read()
        finally:
            line.hang_up()

    def record(self, request_id: str | None, token: str, key: str) -> Record | None:
        """Wait for the record of a call; without an id (the caller left before it) it is found by *token*.

        None: there is none in time.
        """
        until = time.monotonic() + self.recorded_within
        while True:
            found = self._by_id(request_id, key) if request_id else self._by_token(token, key)
            if found is not None or time.monotonic() > until:
                return found
            time.sleep(POLL)

    def settled(self, request_id: str | None, token: str, key: str, good: Callable[[Record], bool]) -> Record | None:
        """Wait for the record, and until it is *good* or has had its time to become so."""
        record = self.record(request_id, token, key)
        until = time.monotonic() + self.settled_within
        while record is not None and not good(record) and time.monotonic() < until:
            time.sleep(POLL)
            record = self.record(record["request_id"], token, key)
        return record

    def _by_id(self, request_id: str, key: str) -> Record | None:
        answer = self.get(f"/v1/stats/calls/{request_id}", key)
        return _object(answer) if answer.status == http.HTTPStatus.OK else None

    def _by_token(self, token: str, key: str) -> Record | None:
        newest = (_object(self.get("/v1/stats?limit=500", key)) or {}).get("newest", [])
        return next((record for record in newest if record.get("client_request_id") == token), None)


def _object(answer: Reply) -> Record | None:
    told = answer.json
    return told if isinstance(told, dict) else None


def figures(record: Mapping[str, Any]) -> str:
    """Say what a record tells in a few words."""
    usage = record.get("usage") or {}
    words = [str(record.get("outcome")), str(record.get("status")), sums(usage), str(record.get("usage_source"))]
    if record.get("cost") is not None:
        words.append(f"${record['cost']}")
    return " ".join(words)


def sums(usage: Mapping[str, Any]) -> str:
    """Write `50+120=170`; what is not known is a question mark."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    told = ["?" if usage.get(name) is None else str(usage[name]) for name in names]
    if told == ["?"] * 3:
        others = {name: value for name, value in usage.items() if value is not None}
        return json.dumps(others, separators=(",", ":")) if others else "-"
    return f"{told[0]}+{told[1]}={told[2]}"
