"""What every request has in common: its id, its caller's key, and the headers of every answer."""

from __future__ import annotations

import re
import time
from typing import Any

from flask import Flask, Response, g
from uuid_utils import uuid7

from llm_one_api.values import Peer

_UNCLEAN = re.compile(r"[^\x20-\x7e]")

REQUEST_ID = "x-request-id"
OVERHEAD = "x-llm-one-api-overhead-ms"
TAGS = "HTTP_X_LLM_ONE_API_TAGS"
MOST_TAGS = 5
_LONGEST_COUNT = 6
"""Digits."""


def new_id() -> str:
    """Make a call's id: a UUIDv7, so that ids sort by time."""
    return str(uuid7())


def api_key(environ: dict[str, Any]) -> str:
    """Read the key from the `Authorization` header, else from `x-api-key` (Anthropic's); empty: there is none."""
    scheme, _, key = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return str(environ.get("HTTP_X_API_KEY", "")).strip() if not scheme else ""


def peer(environ: dict[str, Any]) -> Peer:
    """Tell where a request comes from, as far as it is said."""
    return environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", "")


def credentials(environ: dict[str, Any]) -> tuple[str, Peer]:
    """Give what `Authenticate` asks for."""
    return api_key(environ), peer(environ)


def clean(text: str | None, longest: int) -> str | None:
    """Keep the printable ASCII of a header that a caller chose."""
    return _UNCLEAN.sub("", text)[:longest].strip() or None if text else None


def tags(environ: dict[str, Any]) -> tuple[str, ...]:
    """Read up to five tags from `x-llm-one-api-tags: a, b`."""
    text = environ.get(TAGS)
    if not text:
        return ()
    found = (clean(tag, 64) for tag in str(text).split(","))
    return tuple([tag for tag in found if tag][:MOST_TAGS])


def retries(environ: dict[str, Any]) -> int | None:
    """Read how often the caller's SDK had tried before; None: it does not say."""
    text = str(environ.get("HTTP_X_STAINLESS_RETRY_COUNT", ""))
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_COUNT else None


def overhead(started: float, waited: float) -> str:
    """Tell our share of the time since *started*, in milliseconds; others took *waited* seconds of it."""
    return f"{max(0.0, time.monotonic() - started - waited) * 1000:.2f}"


def register(app: Flask) -> None:
    """Give each request its id and each answer its headers."""

    @app.before_request
    def arrive() -> None:
        g.started = time.monotonic()
        g.id = new_id()

    @app.after_request
    def mark(response: Response) -> Response:
        headers = response.headers
        headers[REQUEST_ID] = g.id
        headers[OVERHEAD] = overhead(g.started, 0.0)
        return response
