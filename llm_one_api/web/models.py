"""`GET /v1/models`: the models that a key may use."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Flask, Response, request

from llm_one_api.web.current import Current
from llm_one_api.web.door import credentials


def register(app: Flask, current: Current) -> None:
    """Add both routes."""

    @app.get("/v1/models")
    def list_models() -> Response:
        line = current.serving.line
        caller = line.authenticate(*credentials(request.environ))
        return _say({"object": "list", "data": [_model(model) for model in line.route.models(caller)]})

    @app.get("/v1/models/<path:model>")
    def show_model(model: str) -> Response:
        line = current.serving.line
        caller = line.authenticate(*credentials(request.environ))
        line.route(caller, model)
        return _say(_model(model))


def _model(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "llm-one-api"}


def _say(body: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(body), content_type="application/json")
