"""The file, the environment, the schema: `load` puts them together, and tells every fault at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from llm_one_api.errors import ConfigError, Fault
from llm_one_api.settings import together
from llm_one_api.settings.faults import explain
from llm_one_api.settings.overriding import override
from llm_one_api.settings.reading import MAX_BYTES, Document, Reader, UnreadableError, compose, decode
from llm_one_api.settings.schema import PLUGIN_KINDS, Settings
from llm_one_api.settings.together import names_on, strategies

DEFAULT_FILE = Path("config/llm-one-api.yaml")

PluginCheck = Callable[[str, Sequence[str], Mapping[str, Mapping[str, Any]]], Sequence[Fault]]
"""Checks one kind's plugins: (kind, names that are on, sections by name) → faults."""


def load(
    path: Path | str | None = None, environ: Mapping[str, str] = os.environ, *, check: PluginCheck | None = None
) -> Settings:
    """Read the settings; raise `ConfigError` with every fault there is.

    The file is *path*, else `LLM_ONE_API_CONFIG`, else `config/llm-one-api.yaml` in the current folder, else the
    packaged default. With *check* (`plugins.manager.check`) the plugins' sections are checked along with the rest.
    """
    source, raw = _open(path, environ)
    document = Document()
    try:
        _read(raw, document, environ)
        override(document, environ)
    except UnreadableError as error:
        raise ConfigError([*document.faults, Fault("the file", error.message, error.line)], source) from None
    settings = None
    try:
        settings = Settings.model_validate(document.data)
    except ValidationError as error:
        explain(error, document)
    together.check(document)
    if check is not None:
        _check_plugins(document, check)
    if document.faults or settings is None:
        raise ConfigError(_in_order(document.faults), source)
    return settings


def source(path: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Name the file that `load` would read."""
    chosen = _choose(path, environ)
    return str(chosen) if chosen else f"packaged default (there is no {DEFAULT_FILE} here)"


def _choose(path: Path | str | None, environ: Mapping[str, str]) -> Path | None:
    named = path or environ.get("LLM_ONE_API_CONFIG")
    if named:
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _open(path: Path | str | None, environ: Mapping[str, str]) -> tuple[str, bytes]:
    name, chosen = source(path, environ), _choose(path, environ)
    try:
        if chosen is None:
            return name, files("llm_one_api.settings").joinpath("default.yaml").read_bytes()
        with chosen.open("rb") as file:
            # One byte more than is allowed tells that it is too large, also of a device that never ends.
            return name, file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise ConfigError([Fault("the file", f"cannot be read: {reason}")], name) from None


def _read(raw: bytes, document: Document, environ: Mapping[str, str]) -> None:
    node = compose(decode(raw))
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in {"", "~", "null"}):
        return
    if not isinstance(node, yaml.MappingNode):
        raise UnreadableError("must be sections (lines of name: value)", node.start_mark.line + 1)
    data = Reader(document, environ).value(node, ())
    document.data = data if isinstance(data, dict) else {}


def _check_plugins(document: Document, check: PluginCheck) -> None:
    """Let the plugins check what is theirs, also when something else is wrong."""
    for kind in PLUGIN_KINDS:
        for fault in check(kind, names_on(document, kind), _sections(document, kind)):
            known = next((path for path in document.origins if ".".join(path) == fault.path), None)
            path = known or tuple(fault.path.split("."))
            if not document.is_told(path):
                document.blame(path, fault.message)
    found = {name: check("load_balance", [name], {}) for name in set(strategies(document).values())}
    for path, name in strategies(document).items():
        for fault in found[name]:
            document.blame(path, fault.message)


def _sections(document: Document, kind: str) -> Mapping[str, Mapping[str, Any]]:
    """Give the sections of plugins that can be handed over; what is wrong with the others is told already."""
    sections = document.data.get(kind)
    usable = {}
    for name, section in sections.items() if isinstance(sections, dict) else ():
        if isinstance(section, dict | None):
            usable[name] = section or {}
        else:
            document.unread.add((kind, name))
    return usable


def _in_order(faults: Sequence[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: (fault.line is None, fault.line or 0, fault.path))
