"""Writes `docs/configuration.md` from the settings: `python -m llm_one_api.settings.document docs/configuration.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
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
    rows = [
        f"\n## Settings\n\n{_COLUMNS}",
        *(_row(path, field) for path, field in settings() if "." not in path),
    ]
    for heading, model, prefix in sections():
        rows.append(f"\n### {heading}\n\n{_about(model)}\n")
        rows.append(_COLUMNS)
        rows += [_row(f"{prefix}.{name}", field) for name, field in _own(model)]
    introduction = files("llm_one_api.settings").joinpath("introduction.md").read_text(encoding="utf-8")
    return introduction + "\n".join(rows) + "\n"


def settings() -> Iterator[tuple[str, FieldInfo]]:
    """Give every setting that has a value, by its path."""
    for name, field in _own(Settings):
        yield name, field
    for _, model, prefix in sections():
        for name, field in _own(model):
            yield f"{prefix}.{name}", field


def sections(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """Give every section below *model*: heading, model and path."""
    for name, field in named(model).items():
        inner, names = section_of(field.annotation)
        if inner is None:
            continue
        listed = "[]" if inner.__name__ == "UpstreamSettings" else ""
        path = f"{prefix}{name}{listed}" + ("" if listed else ".<name>" * names)
        if any(section_of(below.annotation)[0] is None for below in inner.model_fields.values()):
            yield f"`{path}`", inner, path
        yield from sections(inner, f"{path}.")


def _own(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in named(model).items():
        inner, _ = section_of(field.annotation)
        if inner is None or name == "upstreams":
            yield name, field


def _row(path: str, field: FieldInfo) -> str:
    expected = expectation(field)
    path = f"{path}.<name>" if path in PLUGIN_KINDS else path
    cells = (f"`{path}`", default(field), expected.text if expected else "", field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def default(field: FieldInfo) -> str:
    """Write the default as it would stand in the file; nothing for no default."""
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
