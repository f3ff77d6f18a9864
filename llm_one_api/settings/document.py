"""Writes `docs/configuration.md` from the settings: `python -m llm_one_api.settings.document docs/configuration.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from llm_one_api.settings.faults import expectation, named, section_of
from llm_one_api.settings.schema import PLUGIN_KINDS, Settings

_COLUMNS = "| setting | default | must be | what it is for |\n|---|---|---|---|"
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def page() -> str:
    """Write the whole page."""
    rows = [f"\n## Settings\n\n{_COLUMNS}", *_rows(Settings, "")]
    for heading, model, path in sections():
        rows.append(f"\n### {heading}\n\n{_about(model)}\n")
        rows.append(_COLUMNS)
        rows += _rows(model, f"{path}.")
    introduction = files("llm_one_api.settings").joinpath("introduction.md").read_text(encoding="utf-8")
    return introduction + "\n".join(rows) + "\n"


def settings() -> Iterator[tuple[str, FieldInfo]]:
    """Give every setting that has a value, by its path. Of sections that are alike, those of the first."""
    for name, field in _own(Settings):
        yield name, field
    for _, model, path in sections():
        for name, field in _own(model):
            yield f"{path}.{name}", field


def sections() -> Iterator[tuple[str, type[BaseModel], str]]:
    """Give every section that has lines: heading, model and path. Of sections that are alike, the first."""
    for model, paths in _places().items():
        if paths[0] and any(_rows(model, "")):
            yield f"`{paths[0]}`", model, paths[0]


@cache
def _places() -> dict[type[BaseModel], list[str]]:
    """Give the paths at which each model stands."""
    places: dict[type[BaseModel], list[str]] = {}
    for model, path in _all(Settings, ""):
        places.setdefault(model, []).append(path)
    return places


def _all(model: type[BaseModel], path: str) -> Iterator[tuple[type[BaseModel], str]]:
    yield model, path
    for below, inner, _ in _inner(model, f"{path}." if path else ""):
        yield from _all(inner, below)


def _inner(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel], FieldInfo]]:
    """Give the sections right below *model*, by their paths."""
    for name, field in named(model).items():
        inner, names = section_of(field.annotation)
        if inner is not None:
            yield prefix + name + ("[]" if _is_listed(inner) else ".<name>" * names), inner, field


def _own(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in named(model).items():
        inner, _ = section_of(field.annotation)
        if inner is None or _is_listed(inner):
            yield name, field


def _is_listed(inner: type[BaseModel]) -> bool:
    """Tell whether sections of that kind stand in a list."""
    return inner.__name__ == "UpstreamSettings"


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Write a line for each setting of *model*, and for each section right below it that there are several of."""
    for name, field in _own(model):
        expected = expectation(field)
        path = f"{prefix}{name}.<name>" if prefix + name in PLUGIN_KINDS else prefix + name
        yield _row(path, default(field), expected.text if expected else "", field)
    for path, inner, field in _inner(model, prefix):
        first, *others = _places()[inner]
        if others:
            yield _row(path, "", "a section, see below" if path == first else f"a section like `{first}`", field)


def _row(path: str, default: str, expected: str, field: FieldInfo) -> str:
    cells = (f"`{path}`", default, expected, field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def default(field: FieldInfo) -> str:
    """Write the default as it would stand in the file; nothing for no default."""
    if field.is_required():
        return ""
    value: Any = field.get_default()
    expected = expectation(field)
    match value:
        case None | {} | SecretStr():
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case int() if expected is not None and expected.size:
            factor, unit = next((pair for pair in _UNITS if value % pair[0] == 0), (1, ""))
            return f"`{value // factor}{unit}`"
        case float():
            return f"`{value:g}`"
        case tuple():
            return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _about(model: type[BaseModel]) -> str:
    return " ".join(line.strip() for line in (model.__doc__ or "").splitlines() if line.strip())


def main(arguments: list[str]) -> None:
    """Write the page into the file that is named, else print it."""
    if arguments:
        Path(arguments[0]).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


if __name__ == "__main__":
    main(sys.argv[1:])
