"""The endpoints that are proxied: a row each. A new one is a row here, and a dialect if it speaks another."""

from __future__ import annotations

from llm_one_api.values import Value


class Endpoint(Value, frozen=True, kw_only=True):
    """One endpoint: where callers find it, and what it is called upstream."""

    name: str
    """As records and statistics name it."""
    path: str
    upstream_path: str
    """Behind the upstream's `api_base`."""
    streams: bool
    """Whether `"stream": true` means a stream of events with `stream_options.include_usage`."""


ENDPOINTS = (
    Endpoint(name="chat", path="/v1/chat/completions", upstream_path="/chat/completions", streams=True),
    Endpoint(name="completions", path="/v1/completions", upstream_path="/completions", streams=True),
    Endpoint(name="embeddings", path="/v1/embeddings", upstream_path="/embeddings", streams=False),
)
