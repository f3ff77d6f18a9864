"""The document, and its route. It tells no secret, but as every page of ours it is for those with a key."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from flask import Flask, Response, request

from llm_one_api.web.current import Authenticate
from llm_one_api.web.door import credentials
from llm_one_api.web.openapi import analysis, pages, values
from llm_one_api.web.openapi.writing import failures


def document() -> dict[str, Any]:
    """Write all of it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LLM One API: statistics and health",
            "version": version("llm-one-api"),
            "description": "What the gateway tells of itself. Calls to models are as their providers describe them.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [
            {"name": "analysis", "description": "What the books say, as JSON or CSV."},
            {"name": "pages", "description": "Health, limits, live figures."},
        ],
        "paths": {**pages.PATHS, **analysis.PATHS},
        "components": {
            "schemas": {**values.SCHEMAS, **analysis.SCHEMAS},
            "responses": failures(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


@cache
def _written() -> bytes:
    return msgspec.json.encode(document())


def register(app: Flask, authenticate: Authenticate) -> None:
    """Add the route."""

    @app.get("/v1/openapi.json")
    def openapi() -> Response:
        authenticate(*credentials(request.environ))
        return Response(_written(), content_type="application/json")
