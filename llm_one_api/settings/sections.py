"""The sections of the config file, but for `models`: names, defaults, and what each setting is for.

The docstring under a setting is its description in `docs/configuration.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from llm_one_api.settings.kinds import (
    BackupCount,
    Batch,
    BatchWait,
    BrokerUrlOrNone,
    CallSeconds,
    Count,
    CountOrNone,
    Expect,
    Folder,
    FolderOrNone,
    Host,
    Hours,
    KeyPrefix,
    LedgerUrl,
    OneOrMorePluginNames,
    PluginNames,
    Port,
    Processes,
    Proxies,
    RedisUrlOrNone,
    Rotation,
    Seconds,
    Size,
    SizeOrNone,
    SizeOrZero,
    Window,
    fault,
)

S = TypeVar("S", bound="Section")
Switch = Annotated[bool, Expect("true or false")]
Level = Annotated[
    Literal["debug", "info", "warning", "error", "critical"],
    BeforeValidator(lambda level: level.lower() if isinstance(level, str) else level),
]


class Section(BaseModel):
    """A part of the config: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)
    misplaced: ClassVar[Mapping[str, str]] = {}
    """Names that are known but belong elsewhere, with what a person is told who put them here."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_the_default(cls, data: Any) -> Any:
        """Take a known name with nothing behind it for one that is not there."""
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {name: value for name, value in data.items() if value is not None or name not in known}


class ServerSettings(Section):
    """How the gateway listens, and its bounds."""

    host: Host = "127.0.0.1"
    """The address to listen on. `0.0.0.0` is every one of this machine, and needs a key of your own."""
    port: Port = 8000
    """The port to listen on."""
    workers: Processes = 2
    """Gunicorn processes. One carries thousands of open streams on one CPU core."""
    max_body_bytes: Size = 32 * 2**20
    """The largest request body that is taken; a larger one is answered with 413."""
    body_timeout: Seconds = 60.0
    """Seconds in which a request's body must have arrived."""
    max_streams: Count = 2000
    """Calls that one process carries at a time; beyond it: 503 with `retry-after`."""
    client_stall_timeout: Seconds = 60.0
    """Seconds without any progress in sending to a caller, after which the call is cut and recorded."""
    drain_timeout: Seconds = 8.0
    """Seconds that open calls get to finish when the gateway stops; then a stream ends with an error event."""
    on_client_gone: Literal["cut", "drain"] = "cut"
    """A caller left: `cut` closes the upstream at once, `drain` reads on to learn the usage."""
    drain_seconds: Seconds = 60.0
    """How long `on_client_gone: drain` reads on at most."""
    drain_bytes: SizeOrZero = 4 * 2**20
    """How much `on_client_gone: drain` reads on at most."""
    half_close: Literal["gone", "allow"] = "gone"
    """A caller ended its sending side: `gone` takes it for having left, as nginx does; `allow` goes on answering."""
    trusted_proxies: Proxies = ()
    """Proxies whose `X-Forwarded-For` tells the address by which requests without a valid key are limited."""


class PluginsSettings(Section):
    """Which plugins are on, by name. With several, `auth` and `model_route` are asked in this order."""

    auth: OneOrMorePluginNames = ("default_auth",)
    """Who knows the keys; the first that accepts a key decides."""
    model_route: OneOrMorePluginNames = ("default_router",)
    """Who knows the models; `default_router` reads `models` below."""
    stats: PluginNames = ("log", "memory")
    """Who is told of every finished call."""


class LoggingSettings(Section):
    """The log file of the `log` plugin, and what the processes print on stderr."""

    file: Folder = Path("logs/llm-one-api.log")
    """The file that the `log` plugin writes, one line a call."""
    rotate: Rotation = "daily"
    """When that file is rotated: at midnight in `timezone`, or at a size."""
    backup_count: BackupCount = 30
    """How many rotated files are kept."""
    level: Level = "info"
    """The least important messages that processes print on stderr."""
    format: Literal["console", "json"] = "console"
    """How they print them."""


class RedisSettings(Section):
    """The Redis (or Valkey) for acknowledgements and live statistics."""

    url: RedisUrlOrNone = None
    """Where it is. Nothing: `llm-one-api up` runs one of its own; parts run alone use `redis://127.0.0.1:6379/0`."""
    key_prefix: KeyPrefix = "oneapi:"
    """Put before every key of ours, so that a Redis can be shared."""


class BrokerSettings(Section):
    """What Celery sends its tasks through."""

    url: BrokerUrlOrNone = None
    """Where it is. Nothing: the same as `redis.url`."""


class LedgerSettings(Section):
    """The database of finished calls."""

    url: LedgerUrl = "sqlite:///data/ledger.db"
    """SQLite for one machine; PostgreSQL for several."""
    keep_records_days: CountOrNone = None
    """Days after which single calls are deleted, when every plugin has had them; sums stay. Nothing: they are kept."""
    keep_quarters_days: Count = 90
    """Days for which sums by quarters of an hour are kept; those by hours stay for good."""


class JournalSettings(Section):
    """The files on disk that each finished call goes to first."""

    folder: FolderOrNone = None
    """Where they are, on a disk of this machine. Nothing: `journal` in `data_dir`."""
    fsync: Literal["always", "interval", "never"] = "interval"
    """When entries are forced to the disk. A killed process loses nothing with any; this is about power cuts."""
    fsync_interval: Seconds = 0.5
    """Seconds between two of `fsync: interval`: what a power cut can cost."""
    segment_bytes: Size = 16 * 2**20
    """The size at which a file is closed and the next begun."""
    segment_seconds: Seconds = 300.0
    """The age at which a file is closed and the next begun."""
    keep_acked_hours: Hours = 24.0
    """How long files that are safely in the ledger are kept, to be sent again if it is lost."""
    keep_acked_bytes: SizeOrZero = 2**30
    """How much of them is kept at most."""
    max_bytes: SizeOrNone = None
    """How much may wait here for the ledger; beyond it the journal is full. Nothing: as much as the disk holds."""
    on_full: Literal["serve", "refuse"] = "serve"
    """The journal or its disk is full: `serve` calls that may go uncounted, or `refuse` them with 503."""


class RelaySettings(Section):
    """How records go from the journal to the workers."""

    batch_records: Batch = 1000
    """Records in one message at most."""
    batch_ms: BatchWait = 100
    """Milliseconds that a record waits for others to join it, at most."""
    window: Window = 64
    """Messages under way at most; while so many are unanswered, or wait in the queue, nothing new is sent."""
    resend_min: Seconds = 5.0
    """Seconds after which an unanswered message is first sent again."""
    resend_max: Seconds = 300.0
    """Seconds between two sendings of it at most."""

    @model_validator(mode="after")
    def _in_order(self) -> RelaySettings:
        return _ascending(self, "resend_min", "resend_max")


_CALLS_BEFORE_RENEWAL = 4
"""The constructor, `initialize`, `record_request` and `record_response`."""


class DeliverySettings(Section):
    """How stats plugins are called."""

    call_timeout: CallSeconds = 10.0
    """Seconds that one call of a plugin may take. One that then cannot be ended, as it hangs in C, ends its process."""
    lease: Seconds = 60.0
    """Seconds for which a worker holds a plugin, renewed while it works; then another may go on."""
    retry_min: Seconds = 1.0
    """Seconds until a plugin that failed is first tried again."""
    retry_max: Seconds = 300.0
    """Seconds between two tries at most."""
    tries: Count = 8
    """How often a record is tried before it is set aside in the dead letters, if the plugin takes others."""
    max_memory: Size = 512 * 2**20
    """Memory that plugins may add to a worker process. One that needs more fails, and its process is replaced."""

    @model_validator(mode="after")
    def _in_order(self) -> DeliverySettings:
        if self.lease <= _CALLS_BEFORE_RENEWAL * self.call_timeout:
            raise fault(
                f"must be longer than four times delivery.call_timeout ({self.call_timeout:g}): "
                "a plugin may be called so often before it is renewed",
                field="lease",
            )
        return _ascending(self, "retry_min", "retry_max")


def _ascending(section: S, low: str, high: str) -> S:
    if getattr(section, low) > getattr(section, high):
        raise fault(f"must not be less than {low} ({getattr(section, low):g})", field=high)
    return section
