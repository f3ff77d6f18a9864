"""Which settings a running part takes up from a changed config, and which of them want it started again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from llm_one_api.settings.loading import source
from llm_one_api.settings.schema import Settings

S = TypeVar("S", bound=BaseModel)

GATEWAY, RELAY, WORKERS, BEAT, METRICS = "gateway", "relay", "workers", "beat", "metrics"
_ALL = (GATEWAY, RELAY, WORKERS, BEAT, METRICS)

RESTART: Mapping[str, tuple[str, ...]] = {
    "server.host": (GATEWAY,),
    "server.port": (GATEWAY,),
    "server.workers": (GATEWAY,),
    "server.max_streams": (GATEWAY,),
    "server.client_stall_timeout": (GATEWAY,),
    "server.drain_timeout": (GATEWAY,),
    "server.half_close": (GATEWAY,),
    "server.trusted_proxies": (GATEWAY,),
    "plugins.stats": (GATEWAY, WORKERS, BEAT),
    "stats": (WORKERS,),
    "data_dir": _ALL,
    "timezone": _ALL,
    "logging.file": (WORKERS,),
    "logging.rotate": (WORKERS,),
    "logging.backup_count": (WORKERS,),
    "logging.level": _ALL,
    "logging.format": _ALL,
    "redis": _ALL,
    "broker": (RELAY, WORKERS, BEAT),
    "ledger.url": (GATEWAY, WORKERS, METRICS),
    "ledger.keep_records_days": (WORKERS,),
    "ledger.keep_quarters_days": (WORKERS,),
    "journal.folder": (GATEWAY, RELAY, WORKERS, METRICS),
    "journal.fsync": (GATEWAY,),
    "journal.fsync_interval": (GATEWAY,),
    "journal.segment_bytes": (GATEWAY,),
    "journal.segment_seconds": (GATEWAY,),
    "journal.max_bytes": (GATEWAY,),
    "journal.on_full": (GATEWAY,),
    "journal.keep_acked_hours": (RELAY,),
    "journal.keep_acked_bytes": (RELAY,),
    "relay": (RELAY,),
    "delivery": (WORKERS,),
    "export": (GATEWAY, WORKERS, METRICS),
    "quota.lease": (GATEWAY, RELAY),
    "monitoring.prometheus.enabled": (METRICS,),
    "monitoring.prometheus.host": (METRICS,),
    "monitoring.prometheus.port": (METRICS,),
}
"""By path (a section, or one setting): the parts that must be started again for it."""

FOLLOWED = frozenset(
    {
        "server.max_body_bytes",
        "server.body_timeout",
        "server.on_client_gone",
        "server.drain_seconds",
        "server.drain_bytes",
        "plugins.auth",
        "plugins.model_route",
        "auth",
        "model_route",
        "models",
        "upstreams",
        "pricing",
        "limits",
        "quota.action",
        "quota.throttle",
        "quota.unpriced",
        "quota.when_unavailable",
        "quota.default_output_tokens",
        "rate_limit",
        "monitoring.prometheus.metrics",
        "monitoring.prometheus.users",
        "alerts",
    }
)
"""What every part takes up that reads it."""


_TRIES = 5


def changed(running: Settings, new: Settings) -> dict[str, tuple[str, ...]]:
    """Tell which settings differ that not every part takes up, and which parts want a restart for each."""
    return {path: parts for path, parts in RESTART.items() if _at(running, path) != _at(new, path)}


def keeping(running: Settings, new: Settings, part: str) -> Settings:
    """Give *new*, but as it is *running* what *part* cannot take up."""
    for path in changed(running, new):
        if part in RESTART[path]:
            new = _with(new, path.split("."), _at(running, path))
    return new


def steadily(read: Callable[[], Settings], path: Path | None = None) -> tuple[Settings, str]:
    """Read the config, and tell which file it was, as it was written when. One that is changed meanwhile is read again.

    *read* takes *path*, or the file of the environment. All processes read it by themselves: what this tells shows
    whether they have read the same. Raises ConfigError.
    """
    before = written(path)
    for _ in range(_TRIES):
        settings, after = read(), written(path)
        if after == before:
            break
        before = after
    return settings, before


def written(path: Path | None = None) -> str:
    """Tell which file the config is in (*path*, or that of the environment), and when it was written."""
    file = Path(source(path))
    try:
        at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError:
        return str(file)
    return f"{file.resolve()}, written {at.isoformat(timespec='microseconds')}"


def _with(section: S, path: Sequence[str], value: Any) -> S:
    """Give *section* with another value at *path*."""
    name, *rest = path
    return section.model_copy(update={name: _with(getattr(section, name), rest, value) if rest else value})


def _at(settings: Settings, path: str) -> Any:
    found: Any = settings
    for step in path.split("."):
        found = getattr(found, step)
    return found
