"""What pydantic found wrong, in words for a person at 3 a.m."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from llm_one_api.settings.kinds import Expect, masked
from llm_one_api.settings.pricing import ONE, SEVERAL
from llm_one_api.settings.reading import Document, Keys
from llm_one_api.settings.schema import Settings
from llm_one_api.settings.sections import Section

_SHOWN = 40
_UNWRITTEN = {"[key]", ONE, SEVERAL}
"""Steps of pydantic's paths that nobody wrote."""
_OF_MODELS = {"models", "pricing"}


def explain(error: ValidationError, document: Document) -> None:
    """Put every fault of *error* into *document*."""
    for detail in error.errors(include_url=False):
        path = tuple(str(step) for step in detail["loc"] if step not in _UNWRITTEN)
        context = detail.get("ctx", {})
        if context.get("field"):
            path = (*path, context["field"])
        if not document.is_told(path):
            document.blame(path, _message(detail, path, document))


def _message(detail: ErrorDetails, path: Keys, document: Document) -> str:
    kind = detail["type"]
    if kind == "told":
        return str(detail["ctx"]["told"])
    model, field = _field(path)
    if kind == "extra_forbidden":
        if model is not None and issubclass(model, Section) and path[-1] in model.misplaced:
            return model.misplaced[path[-1]]
        return "unknown setting" + _suggestion(path[-1], model)
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return f"must be a section (lines of name: value below it), got {_kind(detail['input'])}"
    if "[key]" in detail["loc"]:
        return f"a name{' of a model' if path[0] in _OF_MODELS else ''} has 1 to 200 characters"
    expected = expectation(field) if field else None
    if kind == "missing" or expected is None:
        return f"must be {expected.text}" if expected else detail["msg"]
    origin = document.origin(path)
    # A variable's number may be shown; its text might be a secret that went astray.
    astray = (origin.hidden or origin.variable is not None) and not _is_number(detail["input"])
    hidden = expected.secret or astray
    shown = _kind(detail["input"]) if hidden else _shown(detail["input"])
    return f"must be {expected.text}, got {shown}"


def expectation(field: FieldInfo) -> Expect | None:
    """Tell what *field* must be."""
    for note in field.metadata:
        if isinstance(note, Expect):
            return note
    options = get_args(field.annotation)
    if options and all(isinstance(option, str) for option in options):
        return Expect(f"{', '.join(options[:-1])} or {options[-1]}")
    return None


def _field(path: Keys) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """Find the innermost model around *path*, and its field on the way there."""
    model: type[BaseModel] | None = Settings
    field: FieldInfo | None = None
    steps = list(path)
    while steps and model is not None:
        fields = named(model)
        if steps[0] not in fields:
            return model, None
        field = fields[steps.pop(0)]
        inner, names = section_of(field.annotation)
        if inner is None or not steps:
            return model, field
        model, steps = inner, steps[names:]
        if steps and steps[0].isdecimal():  # a place in a list that may stand instead of the section
            steps.pop(0)
    return model, field


def named(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Give the fields of *model* by the names that stand in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def section_of(annotation: Any) -> tuple[type[BaseModel] | None, int]:
    """Find the model that *annotation* holds, and how many names or numbers lead to it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, 0
    for option in get_args(annotation):
        inner, names = section_of(option)
        if inner is not None:
            container = getattr(annotation, "__origin__", None) in {dict, tuple, list}
            return inner, names + container
    return None, 0


def _suggestion(name: str, model: type[BaseModel] | None) -> str:
    names = list(named(model)) if model else []
    elsewhere = [path for path in _leaves(Settings) if path.rpartition(".")[2] == name]
    near = [path for path in elsewhere if path.count(".") == 1] if model is Settings else []
    near = near or get_close_matches(name.lower().replace("-", "_"), names, 1) or elsewhere
    if len(near) == 1:
        return f"; did you mean {near[0]}?"
    return f"; known here: {', '.join(names)}" if model is not Settings else ""


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in named(model).items():
        inner, names = section_of(field.annotation)
        if inner is None:
            yield prefix + name
        elif not names:
            yield from _leaves(inner, f"{prefix}{name}.")


def _is_number(value: Any) -> bool:
    text = str(value)
    return len(text) <= 20 and text.lstrip("+-").replace(".", "", 1).isdecimal()  # noqa: PLR2004


def _shown(value: Any) -> str:
    if isinstance(value, str) and 0 < len(value) <= _SHOWN and "sk-" not in value:
        return masked(value) if _is_number(value) else repr(masked(value))
    return _kind(value)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "a section"
        case list() | tuple():
            return "a list"
        case "":
            return "an empty text"
        case str():
            return f"a text of {len(value)} characters"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
    return f"a {type(value).__name__}"
