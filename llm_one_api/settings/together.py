"""Checks what only shows when several settings are seen together.

They look at what was written, so that what is wrong is told along with everything else that is.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from llm_one_api.settings.kinds import listed
from llm_one_api.settings.reading import Document, Keys
from llm_one_api.settings.schema import Settings

SAMPLE_KEY = "sk-local-dev"
"""The key of the documented default config: everybody knows it."""

_EQUAL_SHARES = {"round_robin", "random", "least_latency"}
"""Strategies of ours that know no weights, but for 0."""
_ON_OR_OFF = {0, 1}


def check(document: Document) -> None:
    """Put every fault there is into *document*."""
    _check_sample_key(document)
    _check_limits(document)
    _check_ports(document)
    _check_exports(document)
    for model, section in _models(document):
        path = ("models", model)
        _check_fallbacks(document, path, section)
        entries = section.get("upstreams")
        if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            _check_upstream_names(document, (*path, "upstreams"), entries)
            _check_weights(document, path, section.get("load_balance_strategy"), entries)


def names_on(document: Document, kind: str) -> Sequence[str]:
    """Give the names of the plugins that are on; what is no name is told already."""
    names = listed(_at(document.data, ("plugins", kind)))
    if names is None:
        return tuple(getattr(Settings().plugins, kind))
    if not isinstance(names, list):
        return ()
    document.unread.update(
        ("plugins", kind, str(n)) for n, name in enumerate(names) if not name or not isinstance(name, str)
    )
    return [str(name) for name in names]


def strategies(document: Document) -> Mapping[Keys, str]:
    """Give the strategies that are named, by where; what is no name is told already."""
    found = {
        ("models", model, "load_balance_strategy"): section.get("load_balance_strategy")
        for model, section in _models(document)
    }
    return {path: name for path, name in found.items() if name and isinstance(name, str)}


def _check_sample_key(document: Document) -> None:
    """Refuse to offer the published key to other machines."""
    host = _at(document.data, ("server", "host")) or Settings().server.host
    names = _at(document.data, ("plugins", "auth")) or Settings().plugins.auth
    keys = _at(document.data, ("auth", "default_auth", "api_keys"))
    if _is_loopback(str(host)) or "default_auth" not in names or not isinstance(keys, list):
        return
    digest = hashlib.sha256(SAMPLE_KEY.encode()).hexdigest()
    for number, written in enumerate(keys):
        entry = written if isinstance(written, dict) else {"key": written}
        if entry.get("enabled") is False:
            continue
        if entry.get("key") == SAMPLE_KEY or str(entry.get("key_sha256")).lower() == digest:
            document.blame(
                ("auth", "default_auth", "api_keys", str(number)),
                f"is the published sample key, and server.host ({host}) lets other machines in: set the environment "
                "variable LLM_ONE_API_KEY to a key of your own, or server.host to 127.0.0.1",
            )


def _check_limits(document: Document) -> None:
    """Refuse limits that would have no effect."""
    short, long = ("rate_limit", "requests_per_minute"), ("limits", "each_key", "requests_per_minute")
    if _at(document.data, short) is not None and _at(document.data, long) is not None:
        document.blame(short, f"is the same as {'.'.join(long)}: give one of the two")
    limited = _at(document.data, ("limits", "models"))
    for name in limited if isinstance(limited, dict) else ():
        _check_model(document, name, ("limits", "models", name))


def _check_ports(document: Document) -> None:
    """Refuse to have two parts listen on one port."""
    path = ("monitoring", "prometheus", "port")
    ports = [_at(document.data, where) for where in (("server", "port"), path)]
    defaults = (Settings().server.port, Settings().monitoring.prometheus.port)
    server, metrics = (default if port is None else port for port, default in zip(ports, defaults, strict=True))
    if str(server) == str(metrics) and ports[1] is not None:
        document.blame(path, "is the same as server.port; give one of the two another")


def _check_exports(document: Document) -> None:
    """Refuse to delete calls of days that are still exported anew."""
    try:
        seen = Settings.model_validate({name: document.data.get(name) or {} for name in ("export", "ledger")})
    except ValidationError:
        return  # what is wrong is told already
    kept, back = seen.ledger.keep_records_days, seen.export.look_back_days
    if seen.export.enabled and kept is not None and kept <= back:
        document.blame(
            ("ledger", "keep_records_days"),
            f"must be more than export.look_back_days ({back}): these days may be exported again",
        )


def _check_fallbacks(document: Document, model: Keys, section: Mapping[str, Any]) -> None:
    """Refuse models that cannot stand in for *model*."""
    written, path = section.get("fallbacks"), (*model, "fallbacks")
    names = listed(written)
    for number, name in enumerate(names if isinstance(names, list) else ()):
        place = path if isinstance(written, str) else (*path, str(number))
        if not isinstance(name, str) or document.is_told(place):
            continue
        if name == model[-1]:
            document.blame(place, "is the model itself; name another one")
        elif name in names[:number]:
            document.blame(place, "stands twice")
        else:
            _check_model(document, name, place, but=model[-1])


def _check_model(document: Document, name: str, path: Keys, *, but: str = "") -> None:
    """Refuse a name of no model, if nobody but the section `models` can know one."""
    models = _at(document.data, ("models",))
    known = [model for model in models if model != but] if isinstance(models, dict) else []
    if name and name not in known and list(names_on(document, "model_route")) == ["default_router"]:
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        document.blame(path, f"there is no such model in the section models{hint}")


def _check_upstream_names(document: Document, path: Keys, entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse two upstreams of a model that records could not tell apart."""
    first: dict[str, int] = {}
    for number, entry in enumerate(entries):
        name = entry.get("name") or _host(entry.get("api_base"))
        if not isinstance(name, str) or not name:
            continue
        before = first.setdefault(name, number)
        if before != number:
            document.blame(
                (*path, str(number), "name"),
                f"is the same as that of upstreams.{before}: give each its own (without one, it is the host)",
            )


def _check_weights(document: Document, model: Keys, strategy: Any, entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse weights that let no call through, or that would have no effect."""
    weights = [_whole(entry.get("weight")) for entry in entries]
    if weights and not any(weights):
        document.blame(
            (*model, "upstreams"), "all have weight 0, so that no call could go anywhere; give one of them another"
        )
    weighted = [number for number, weight in enumerate(weights) if weight not in _ON_OR_OFF]
    if weighted and isinstance(strategy, str) and strategy in _EQUAL_SHARES:
        document.blame(
            (*model, "load_balance_strategy"),
            f"{strategy} does not go by weights, and upstreams.{weighted[0]} has one: use weighted or "
            "least_connections, or take the weights out (0 and 1 may stay: off and on)",
        )


def _models(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the sections of models that are sections."""
    models = _at(document.data, ("models",))
    for name, section in models.items() if isinstance(models, dict) else ():
        if isinstance(section, dict):
            yield name, section


def _whole(weight: Any) -> int:
    """Read a weight; what is none is told already, and taken for that of an upstream that has none."""
    try:
        return int(weight)
    except (TypeError, ValueError):
        return 1


def _host(url: Any) -> str:
    try:
        return urlsplit(url).netloc if isinstance(url, str) else ""
    except ValueError:
        return ""


def _at(data: Any, path: Keys) -> Any:
    for step in path:
        data = data.get(step) if isinstance(data, dict) else None
    return data


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
