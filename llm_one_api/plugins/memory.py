"""The `memory` plugin: live totals per model and the newest calls, of one run of the service.

"Memory" is Redis: the totals must be right with any number of processes, and each of them sees the same. The place in
the ledger stands beside the totals and both move in one Lua script, so a batch that comes twice counts once. Durations
are kept in whole microseconds, for sums of floats depend on their order.

A run begins where the last one ended, or with the plugin's first question for its place, or with `begin`. It ends
when the last who took part in it leaves: each names itself with `join`, again and again, and who was killed counts as
gone when `PRESENT_FOR` is over. So one of several workers may end, and the run goes on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
import redis
from pydantic import BaseModel, ConfigDict, Field

from llm_one_api.plugins import memory_scripts as scripts
from llm_one_api.plugins.interfaces import ExactStatsPlugin, PluginConfig, ResponseInfo
from llm_one_api.plugins.memory_scripts import FIGURES
from llm_one_api.plugins.summary import Figures, Run
from llm_one_api.stores.counters import connect
from llm_one_api.values import Value

MAX_PAIRS = 5000
"""Pairs of key and model that are told apart. Names of models that do not exist are the callers' choice: without a
bound they would fill Redis. What is beyond it counts as model `(other)`."""

PRESENT_FOR = 30
"""Seconds for which who has joined takes part."""
JOIN_EVERY = 5.0
"""Seconds between two times that one joins: some may be missed."""


class MemorySettings(BaseModel):
    """The section `stats.memory`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    max_records: int = Field(1000, ge=0, le=100_000)


class MemoryStatsPlugin(ExactStatsPlugin):
    """Counts each call once, per key and model, and keeps the newest `max_records`."""

    config_model = MemorySettings

    def __init__(self, config: PluginConfig) -> None:
        """Read the section; nothing is connected yet."""
        super().__init__(config)
        if config.context is None:
            raise ValueError("the memory plugin needs to know its Redis: PluginConfig(section, context)")
        self.settings = MemorySettings.model_validate(dict(config))
        self._keys = scripts.keys(config.context.key_prefix)
        self._prefix = config.context.key_prefix
        self._url = config.context.redis_url
        self._client: redis.Redis | None = None

    def cleanup(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def position(self, since: int) -> int:
        """Tell the `seq` of the last record counted; begin a run after *since* if Redis knows of none."""
        return int(cast("str", self._redis().eval(scripts.POSITION, 1, self._keys[0], str(since))))

    def record_batch(self, after: int, upto: int, infos: Sequence[ResponseInfo]) -> bool:
        """Count *infos* and move to *upto* if the place still is *after*; tell whether it was."""
        pairs = sums(infos)
        limit = self.settings.max_records
        first = infos[0]["timestamp"] if infos else ""
        arguments: list[str | bytes] = [str(after), str(upto), str(limit), str(MAX_PAIRS), first]
        arguments += [str(len(pairs)), str(len(FIGURES))]
        for (key, model), figures in pairs.items():
            arguments += [_json([key, model]), _json([key, "(other)"]), *(str(figures[name]) for name in FIGURES)]
        arguments += [_entry(info) for info in infos[max(0, len(infos) - limit) :]]
        return bool(self._redis().eval(scripts.RECORD, len(self._keys), *self._keys, *arguments))

    def restart(self, since: int) -> None:
        """Forget what is counted and begin a run after *since*; who takes part goes on doing so."""
        self._redis().eval(scripts.RESTART, len(self._keys), *self._keys, str(since))

    def place(self) -> int | None:
        """Tell the `seq` of the last record counted, without beginning a run; None: Redis knows of none."""
        seq = cast("str | None", self._redis().hget(self._keys[0], "seq"))
        return None if seq is None else int(seq)

    def begin(self, who: str, since: int) -> bool:
        """Join, and begin a run after *since*; False: others take part in one, which goes on."""
        keys = self._keys
        return bool(self._redis().eval(scripts.BEGIN, len(keys), *keys, who, str(PRESENT_FOR), str(since)))

    def join(self, who: str) -> None:
        """Take part in the run as *who*, for `PRESENT_FOR` seconds from now."""
        self._redis().eval(scripts.JOIN, len(self._keys), *self._keys, who, str(PRESENT_FOR))

    def leave(self, who: str) -> Run | None:
        """Take part no longer; the last to leave ends the run and is given what it was. None: no calls, or not ended.

        Nobody else is given it, and what is counted from now on is the next run's.
        """
        found = cast("list[Any] | None", self._redis().eval(scripts.LEAVE, len(self._keys), *self._keys, who))
        if not found:
            return None
        seq, first, flat = found
        return _run(dict(zip(flat[::2], flat[1::2], strict=True)), since=first, upto=int(seq or 0))

    def get_stats(self) -> dict[str, Any]:
        """Tell the run's figures so far, as `GET /v1/stats/memory` has them for an admin."""
        return read(self._redis(), self._prefix)

    def audit_view(self) -> AuditView | None:
        """Tell what is counted, to be compared with the ledger."""
        return audit_view(self._redis(), self._prefix)

    def _redis(self) -> redis.Redis:
        if self._client is None:
            self._client = connect(self._url)
        return self._client


def read(client: redis.Redis, prefix: str, key: str | None = None) -> dict[str, Any]:
    """Read the run's figures so far: of all calls, or of those made with *key* (a fingerprint). Newest first.

    Raises redis.RedisError if Redis cannot be asked.
    """
    run_key, totals_key, newest_key, _ = scripts.keys(prefix)
    with client.pipeline(transaction=True) as ask:
        ask.hget(run_key, "first")
        ask.hgetall(totals_key)
        ask.lrange(newest_key, 0, -1)
        first, totals, newest = ask.execute()
    entries = [json.loads(entry) for entry in newest]
    if key is not None:
        entries = [entry for entry in entries if entry["key"] == key]
    return {**_run(totals, since=first, key=key).plain(), "newest": entries}


class AuditView(Value, frozen=True, kw_only=True):
    """What has been counted, to be compared with the ledger."""

    since: int
    """The place after which the run began."""
    place: int
    """The place of the last record counted."""
    totals: dict[tuple[str, str], dict[str, int]]
    """The FIGURES of each key and model, as `sums` gives them; those that are 0 included."""


def audit_view(client: redis.Redis, prefix: str) -> AuditView | None:
    """Read, at one moment, what is counted; None: no run, or one of a version that did not note its beginning.

    It is `sums` of the records with *since* < seq ≤ *place* but for those among the plugin's dead letters. Beyond
    MAX_PAIRS pairs, a key's model may be `(other)`: then only the sums by key are as exact.
    Raises redis.RedisError if Redis cannot be asked.
    """
    run_key, totals_key, *_ = scripts.keys(prefix)
    with client.pipeline(transaction=True) as ask:
        ask.hmget(run_key, "since", "seq")
        ask.hgetall(totals_key)
        (since, place), totals = ask.execute()
    return None if since is None else AuditView(since=int(since), place=int(place), totals=_pairs(totals))


def sums(infos: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, int]]:
    """Add *infos* up by key and model as the plugin does; FIGURES are the names. A model is never `(other)` here."""
    pairs: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(FIGURES, 0))
    for info in infos:
        figures = pairs[info["key"], info["model"]]
        figures["requests"] += 1
        for name in ("prompt", "completion", "total"):
            tokens = info["token_usage"][f"{name}_tokens"]
            if tokens is not None:
                figures[f"{name}_tokens"] += tokens
                figures[f"{name}_known"] += 1
        if info["duration"] is not None:
            figures["duration_us"] += round(info["duration"] * 1_000_000)
            figures["duration_known"] += 1
    return pairs


def _pairs(totals: dict[str, str]) -> dict[tuple[str, str], dict[str, int]]:
    """Read the hash of the totals, whose fields are a figure's name and the pair as JSON."""
    pairs: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(FIGURES, 0))
    for field, value in totals.items():
        name, bracket, pair = field.partition("[")
        key, model = json.loads(bracket + pair)
        pairs[key, model][name] = int(value)
    return pairs


def _run(totals: dict[str, str], *, since: str | None, upto: int = 0, key: str | None = None) -> Run:
    """Put the totals of the pairs together, per model, most used first."""
    models: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(FIGURES, 0))
    for (whose, model), figures in _pairs(totals).items():
        if key in {None, whose}:
            for name, value in figures.items():
                models[model][name] += value
    shown = [(model, _figures(added)) for model, added in models.items()]
    shown.sort(key=lambda item: (-item[1].requests, item[0]))
    return Run(since=since if shown else None, models=tuple(shown), upto=upto)


def _figures(sums: dict[str, int]) -> Figures:
    return Figures(
        requests=sums["requests"],
        prompt_tokens=sums["prompt_tokens"] if sums["prompt_known"] else None,
        completion_tokens=sums["completion_tokens"] if sums["completion_known"] else None,
        total_tokens=sums["total_tokens"] if sums["total_known"] else None,
        total_known=sums["total_known"],
        duration_us=sums["duration_us"] if sums["duration_known"] else None,
        duration_known=sums["duration_known"],
    )


def _entry(info: ResponseInfo) -> str | bytes:
    """Write what a list of newest calls shows, as JSON."""
    plain = ("request_id", "timestamp", "model", "user", "key", "endpoint", "stream", "outcome", "status", "error")
    entry = {
        **{name: info[name] for name in plain},
        "duration": info["duration"],
        "ttft": info["ttft"],
        "tokens": info["token_usage"],
        "usage_source": info["usage_source"],
    }
    try:
        return msgspec.json.encode(entry)  # four times as fast
    except UnicodeEncodeError:
        return _json(entry)


def _json(value: Any) -> str:
    # ASCII only: half a surrogate pair has no UTF-8 to be sent in.
    return json.dumps(value, separators=(",", ":"))
