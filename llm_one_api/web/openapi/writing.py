"""How an operation is written down in OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
USD: Schema = {"type": "string", "pattern": r"^-?[0-9]+([.][0-9]+)?$"}
COUNTS: Schema = {"type": "object", "additionalProperties": COUNT}

_SAYS = {
    "400": "Something asked for cannot be: `param` names it.",
    "401": "The key is wrong or missing.",
    "403": "The page is for keys with `admin: true`.",
    "404": "There is no such thing, or not for this key.",
    "414": "What is asked for is longer than a request may be.",
    "429": "Too many requests without a valid key came from this address.",
    "503": "What the page is read from does not answer just now.",
}


def or_null(schema: Schema) -> Schema:
    """Write that it may be unknown."""
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    """Name a value of `components`."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: Schema) -> Schema:
    """Write a list."""
    return {"type": "array", "items": items}


def record(properties: Mapping[str, Schema], *, optional: Sequence[str] = ()) -> Schema:
    """Write an object that has all of *properties* but the *optional* ones, and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def query(name: str, says: str, schema: Schema, **more: Any) -> Mapping[str, Any]:
    """Write a parameter of the query."""
    return {"name": name, "in": "query", "description": says, "schema": schema, **more}


def in_path(name: str, says: str, example: str) -> Mapping[str, Any]:
    """Write a parameter of the path."""
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": says, "schema": schema, "example": example}


def page(
    name: str,
    says: str,
    tells: Schema,
    *,
    parameters: Sequence[Mapping[str, Any]] = (),
    fails: Sequence[str] = (),
    key: bool | None = True,
    tag: str = "pages",
    csv: bool = False,
    more: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """Write a page down: what it is called, says and tells, and by which statuses it may *fail* beside those of keys.

    *key*: whether it needs one; None: it tells more to those who have one. *more*: answers of other shapes.
    """
    content: dict[str, Any] = {"application/json": {"schema": tells}}
    if csv:
        content["text/csv"] = {"schema": TEXT}
    statuses = sorted([*fails, *(("401", "429") if key else ()), *(("414",) if parameters else ())])
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": says,
        "tags": [tag],
        "parameters": list(parameters),
        "responses": {
            "200": {"description": "So it is.", "content": content},
            **{status: {"$ref": f"#/components/responses/{status}"} for status in statuses},
            **(more or {}),
        },
    }
    if not key:
        operation["security"] = [] if key is False else [{}, {"key": []}]
    return {"get": operation}


def failures() -> Mapping[str, Any]:
    """Write the answers of failures, by their status."""
    content = {"application/json": {"schema": ref("Error")}}
    return {status: {"description": says, "content": content} for status, says in _SAYS.items()}
