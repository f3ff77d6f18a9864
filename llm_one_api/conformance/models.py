"""The models that a gateway must have for the suite, as its config says them."""

from __future__ import annotations

from typing import Any

UPSTREAM_KEY = "sk-conformance-upstream-000"
"""What the gateway must send to the upstream instead of its callers' keys."""

OPENAI = "conformance-openai"
ALIAS = "conformance-alias"
ALIASED = "conformance-known-upstream-as"
IMPATIENT = "conformance-impatient"
"""Its upstream must begin, and go on, within two seconds."""
HASTY = "conformance-hasty"
"""Its calls may take three seconds in all."""
REFUSED = "conformance-refused"
"""Nobody listens there."""
PLAIN = "conformance-plain"
"""Its upstream refuses `stream_options` with 400, as OpenAI words it."""
STRICT = "conformance-strict"
"""Its upstream refuses it with 422, as FastAPI words it."""
GPT_4O = "conformance-gpt-4o"
GPT_35 = "conformance-gpt-3.5"
ANTHROPIC = "conformance-anthropic"
AZURE = "conformance-azure"
DEPLOYMENT, API_VERSION = "conformance-deployment", "2024-10-21"

CHEAP, DEAR = "conformance-gpt-3.5-turbo", "conformance-gpt-4"
"""What answers say has answered where the cost is asked for, at the founding document's prices."""
PRICES: dict[str, Any] = {
    CHEAP: {"per": "1K", "input": 0.0015, "output": 0.002},
    DEAR: {"per": "1K", "input": 0.03, "output": 0.06},
}
NOBODY = "http://127.0.0.1:1/v1"
"""Port 1 is one that nobody serves."""


def config(upstream: str, key: str, drain_key: str) -> dict[str, Any]:
    """Give the sections that a gateway needs, whose upstream is at *upstream* (host and port)."""
    return {
        "auth": {
            "default_auth": {
                "api_keys": [
                    {"key": key, "user": "conformance", "admin": True},
                    {"key": drain_key, "user": "conformance-drain", "on_client_gone": "drain"},
                ]
            }
        },
        "models": _models(f"http://{upstream}"),
        "pricing": PRICES,
    }


def _models(base: str) -> dict[str, Any]:
    def at(name: str, **more: Any) -> dict[str, Any]:
        upstream = {"name": name, "api_base": f"{base}/{name}/v1", "api_key": UPSTREAM_KEY}
        upstream.update({field: more.pop(field) for field in ("upstream_model", "api_base") if field in more})
        return {"upstreams": [upstream], **more}

    return {
        OPENAI: at(OPENAI),
        ALIAS: at(ALIAS, upstream_model=ALIASED),
        IMPATIENT: at(IMPATIENT, first_byte_timeout=2, idle_timeout=2),
        HASTY: at(HASTY, timeout=3),
        REFUSED: at(REFUSED, api_base=NOBODY),
        PLAIN: at(PLAIN),
        STRICT: at(STRICT),
        GPT_4O: at(GPT_4O, upstream_model="gpt-4o"),
        GPT_35: at(GPT_35, upstream_model="gpt-3.5-turbo"),
        ANTHROPIC: at(ANTHROPIC, adapter="anthropic"),
        AZURE: at(
            AZURE, adapter="azure", api_base=f"{base}/{AZURE}", upstream_model=DEPLOYMENT, api_version=API_VERSION
        ),
    }
