"""`docker-compose.yml`, read as Compose reads it, as far as its values go."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from tests.harness.processes import ROOT

SECRETS = {
    "LLM_ONE_API_KEY": "sk-compose-admin-key-0001",
    "LLM_ONE_API_TEAM_KEY_SHA256": "ab" * 32,
    "OPENAI_API_KEY": "sk-compose-upstream-0002",
    "POSTGRES_PASSWORD": "postgrespassword0003",
    "REDIS_PASSWORD": "redispassword0004",
    "GRAFANA_PASSWORD": "grafanapassword0005",
}
"""What an operator has to set."""

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<rest>[^}]*))?\})")


class NotSetError(Exception):
    """A variable that has to be set is not."""


def compose(environ: Mapping[str, str] = SECRETS) -> dict[str, Any]:
    """Read the file and fill in *environ*. Raises NotSetError."""
    read: dict[str, Any] = _filled(yaml.safe_load((ROOT / "docker-compose.yml").read_text()), environ)
    return read


def services(environ: Mapping[str, str] = SECRETS) -> dict[str, dict[str, Any]]:
    """Give its parts."""
    found: dict[str, dict[str, Any]] = compose(environ)["services"]
    return found


def words(command: str | list[str]) -> list[str]:
    """Split a command as Compose does."""
    return shlex.split(command) if isinstance(command, str) else command


def seconds(duration: str) -> float:
    """Read a duration such as `90s`."""
    match = re.fullmatch(r"(\d+)s", duration)
    assert match, duration
    return float(match[1])


def _filled(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, environ) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, environ) for each in value]
    return _VARIABLE.sub(lambda found: _one(found, environ), value) if isinstance(value, str) else value


def _one(found: re.Match[str], environ: Mapping[str, str]) -> str:
    name, kind, rest = found["name"], found["kind"], found["rest"]
    if name is None:
        return "$"
    if given := environ.get(name):
        return given
    if kind == "-":
        return rest
    raise NotSetError(f"{name}: {rest}")
