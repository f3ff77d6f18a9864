"""The whole plugin contract, on one page.

A plugin is a class, registered as an entry point in one of four groups and switched on in the config:

    llm_one_api.stats         StatsPlugin          plugins.stats: [...]                     section stats.<name>
    llm_one_api.auth          AuthPlugin           plugins.auth: [...]                      section auth.<name>
    llm_one_api.model_route   ModelRoutePlugin     plugins.model_route: [...]               section model_route.<name>
    llm_one_api.load_balance  LoadBalanceStrategy  models.<name>.load_balance_strategy: …   no section

It is constructed with its own section as a plain mapping (`config["database_url"]`, `config.get(...)`), which nobody
else reads. `config.context` has the few facts about the installation that a plugin may need.
Calls of a plugin are never made at the same time in one process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol
from zoneinfo import ZoneInfo

import msgspec
from pydantic import BaseModel

from llm_one_api.targets import ModelRoute, Target
from llm_one_api.values import OnClientGone, UsageRecord


class LogFile(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log plugin writes, and how the file is rotated (`logging:` in the config)."""

    file: Path
    rotate: str = "daily"
    """`daily` (at midnight in the configured zone) or `size:100MB`."""
    backup_count: int = 30


class PluginContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the installation tells every plugin."""

    zone: ZoneInfo
    log_file: LogFile
    redis_url: str
    """A secret: it may hold a password."""
    key_prefix: str = "oneapi:"
    models: Mapping[str, ModelRoute] = {}
    """The section `models`: what `default_router` routes by. The targets hold the upstreams' keys."""


class PluginConfig(dict[str, Any]):
    """A plugin's own section of the config, unread by anybody else. Never print it: it may hold secrets."""

    context: PluginContext | None

    def __init__(self, section: Mapping[str, Any] | None = None, context: PluginContext | None = None) -> None:
        """Wrap *section*."""
        super().__init__(section or {})
        self.context = context

    def __repr__(self) -> str:
        """Show the names only."""
        return f"PluginConfig({sorted(self)})"


class Plugin:
    """What all kinds share."""

    config_model: ClassVar[type[BaseModel] | None] = None
    """A pydantic model of the section, if `llm-one-api check-config` is to check it. Optional."""

    def __init__(self, config: PluginConfig) -> None:
        """Keep the section as `self.config`."""
        self.config = config

    def initialize(self) -> Awaitable[None] | None:
        """Open what is needed, in the process that will use it. Optional."""
        return None

    def cleanup(self) -> Awaitable[None] | None:
        """Close it again, when the process ends or the instance is replaced. Optional."""
        return None


class ResponseInfo(dict[str, Any]):
    """One finished call, as a mapping; the same names also work as attributes.

    The founding document's names: `event` ("response"), `model`, `user`, `endpoint`, `stream` (bool), `duration`
    (seconds), `timestamp` (ISO 8601 with the configured zone's offset), and `token_usage`: a mapping that always has
    `prompt_tokens`, `completion_tokens` and `total_tokens`, each an int or None (unknown).

    Beside them every field of `UsageRecord` under its own name (`request_id`, `outcome`, `status`, `usage`, `cost`, …).
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    @classmethod
    def of(cls, record: UsageRecord, zone: ZoneInfo) -> ResponseInfo:
        """Present *record* as plugins see it."""
        usage = record.usage
        info = cls(msgspec.structs.asdict(record))
        info["event"] = "response"
        info["timestamp"] = local_iso(record.at, zone)
        info["token_usage"] = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        }
        return info


def local_iso(at: datetime, zone: ZoneInfo) -> str:
    """Write *at* as ISO 8601 with microseconds and the offset of *zone*."""
    return at.astimezone(zone).isoformat(timespec="microseconds")


class StatsPlugin(Plugin):
    """Keeps what happened. Runs in the workers, after the caller has been answered and the ledger has the record.

    Delivery is at least once and in the order of the ledger: after a crash a call may come again, so go by
    `request_id`. A plugin that raises is retried in a fresh instance, with backoff, and delays nobody but itself. So is
    one that takes longer than `delivery.call_timeout`; where Python cannot end it, its process ends. A call that it
    refuses `delivery.tries` times, though it takes others, is set aside (`llm-one-api deadletter`), and may come later.
    """

    def record_response(self, response_info: ResponseInfo) -> Awaitable[None] | None:
        """Keep one finished call. May be `async def` or plain. The only method that must be there."""
        raise NotImplementedError

    def record_request(self, request_info: ResponseInfo) -> Awaitable[None] | None:  # noqa: ARG002
        """Take note of the call, just before `record_response` and from the same record. Optional."""
        return None

    def record_responses(self, response_infos: Sequence[ResponseInfo]) -> Awaitable[None] | None:
        """Keep several finished calls, in their order: all of them, or none and raise. Optional, for those in a hurry.

        If it raises, they come again one by one, by `record_response`. One time limit holds for all of them. It is not
        used with a plugin that has a `record_request`.
        """
        raise NotImplementedError


class ExactStatsPlugin(StatsPlugin):
    """A stats plugin that keeps its place in the ledger itself, in one transaction with its effects: exactly once.

    It is given whole batches by `record_batch`; `record_response` is not called.
    """

    @abstractmethod
    def position(self, since: int) -> int:
        """Tell the `seq` of the last record kept; if nothing is kept yet, begin a run after *since* and return that."""

    @abstractmethod
    def record_batch(self, after: int, upto: int, infos: Sequence[ResponseInfo]) -> bool:
        """Keep the records with *after* < seq ≤ *upto* and the place *upto*, together, if the place still is *after*.

        Return False, having changed nothing, if it is not. No *infos*: go on to *upto*, past a record that was set
        aside. One with *upto* = *after*: a record that was set aside comes after all.
        """

    def restart(self, since: int) -> None:
        """Forget what is kept and begin a run after *since*: `llm-one-api plugins replay` asks for it. Optional."""
        raise NotImplementedError(f"{type(self).__name__} has no restart(since)")


class AuthResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an auth plugin says of a key."""

    authenticated: bool
    user: str | None = None
    """The name to record; None: the key's fingerprint."""
    group: str | None = None
    models: frozenset[str] | None = None
    """None: all models."""
    admin: bool = False
    on_client_gone: OnClientGone | None = None
    """What this caller's leaving means: `cut` or `drain`; None: what `server.on_client_gone` says."""
    error: str | None = None
    """Why not, in words for the caller; must not contain the key."""


class AuthPlugin(Plugin, ABC):
    """Knows the keys. Asked in the gateway for every call: it must not block, and is plain, not `async`."""

    @abstractmethod
    def authenticate(self, api_key: str) -> AuthResult:
        """Tell who has *api_key*. With several plugins the first that authenticates decides."""


class ModelRoutePlugin(Plugin, ABC):
    """Knows the models. Asked in the gateway for every call: it must not block, and is plain, not `async`."""

    @abstractmethod
    def get_model_config(self, model: str) -> ModelRoute | Target | None:
        """Tell where a call to *model* goes; None: not mine.

        A `ModelRoute` has the gateway choose among several upstreams, and go on to another one when one fails. A
        `Target` is the plugin's own choice, call for call: the gateway asks that upstream, and no other.
        """

    @abstractmethod
    def list_models(self) -> Iterable[str]:
        """Name the models, in the order to show them."""


class Candidate(Protocol):
    """An upstream that a call may go to, as a strategy sees it."""

    @property
    def name(self) -> str:
        """Its name, of which a model has no other."""

    @property
    def weight(self) -> int:
        """Its share, as the config says; never 0 here."""

    @property
    def in_flight(self) -> int:
        """Count the calls that it has under way, from all processes: of others as they stood up to 0.3 s ago."""


class LoadBalanceStrategy(Plugin, ABC):
    """Chooses the upstreams of one model's calls: an object of its own for each model, in each process.

    Asked in the gateway for every call, and again when an upstream has failed: it must not block, and is plain.
    """

    @abstractmethod
    def choose(self, among: Sequence[Candidate]) -> Candidate:
        """Choose one of *among*: those that may have the call, at least one, and not always the same."""

    def saw(self, name: str, ttft: float) -> None:
        """Take note that upstream *name* began an answer after *ttft* seconds. Optional."""
