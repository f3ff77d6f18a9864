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
from collections.abc import Sequence
from typing import Any, cast

import redis
from pydantic import BaseModel, ConfigDict, Field

from llm_one_api.plugins.interfaces import ExactStatsPlugin, PluginConfig, ResponseInfo
from llm_one_api.plugins.summary import Figures, Run
from llm_one_api.stores.counters import connect

MAX_PAIRS = 5000
"""Pairs of key and model that are told apart. Names of models that do not exist are the callers' choice: without a
bound they would fill Redis. What is beyond it counts as model `(other)`."""

PRESENT_FOR = 30
"""Seconds for which who has joined takes part."""
JOIN_EVERY = 5.0
"""Seconds between two times that one joins: some may be missed."""

_FIGURES = (
    "requests", "prompt_tokens", "prompt_known", "completion_tokens", "completion_known", "total_tokens",
    "total_known", "duration_us", "duration_known",
)  # fmt: skip

_POSITION = """
redis.call('HSETNX', KEYS[1], 'seq', ARGV[1])
return redis.call('HGET', KEYS[1], 'seq')
"""

# ARGV: after, upto, max_records, max_pairs, time of the first call, number of pairs, number of figures,
# then for each pair: its name, the name to use if there are too many, its figures; then the newest calls, oldest first.
_RECORD = """
if redis.call('HGET', KEYS[1], 'seq') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'seq', ARGV[2])
if ARGV[5] ~= '' then redis.call('HSETNX', KEYS[1], 'first', ARGV[5]) end
local at, width = 8, tonumber(ARGV[7])
local names = {NAMES}
for _ = 1, tonumber(ARGV[6]) do
  local pair = ARGV[at]
  if redis.call('HEXISTS', KEYS[2], 'requests' .. pair) == 0 then
    if redis.call('HINCRBY', KEYS[1], 'pairs', 1) > tonumber(ARGV[4]) then pair = ARGV[at + 1] end
  end
  for n = 1, width do
    if ARGV[at + 1 + n] ~= '0' then redis.call('HINCRBY', KEYS[2], names[n] .. pair, ARGV[at + 1 + n]) end
  end
  at = at + 2 + width
end
for n = at, #ARGV do redis.call('LPUSH', KEYS[3], ARGV[n]) end
redis.call('LTRIM', KEYS[3], 0, tonumber(ARGV[3]) - 1)
if ARGV[3] == '0' then redis.call('DEL', KEYS[3]) end
return 1
""".replace("NAMES", ", ".join(f"'{name}'" for name in _FIGURES))

# ARGV: who, and for how long. By the clock of Redis, the one that all of them share.
_JOIN = """
redis.call('ZADD', KEYS[4], redis.call('TIME')[1] + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[4], ARGV[2])
"""

_ARE_THERE_OTHERS = """
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', redis.call('TIME')[1])
local others = redis.call('ZCARD', KEYS[4]) > 0
"""

# ARGV: who, for how long, since.
_BEGIN = f"""
{_ARE_THERE_OTHERS}
{_JOIN}
if others then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'seq', ARGV[3])
return 1
"""

# ARGV: who.
_LEAVE = f"""
{_ARE_THERE_OTHERS}
if others then return false end
local totals = redis.call('HGETALL', KEYS[2])
if #totals == 0 then return false end
local run = {{redis.call('HGET', KEYS[1], 'seq'), redis.call('HGET', KEYS[1], 'first'), totals}}
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('HDEL', KEYS[1], 'first', 'pairs')
return run
"""


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
        self._keys = _keys(config.context.key_prefix)
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
        return int(cast("str", self._redis().eval(_POSITION, 1, self._keys[0], str(since))))

    def record_batch(self, after: int, upto: int, infos: Sequence[ResponseInfo]) -> bool:
        """Count *infos* and move to *upto* if the place still is *after*; tell whether it was."""
        pairs = _sums(infos)
        limit = self.settings.max_records
        arguments = [str(after), str(upto), str(limit), str(MAX_PAIRS), infos[0]["timestamp"] if infos else ""]
        arguments += [str(len(pairs)), str(len(_FIGURES))]
        for (key, model), figures in pairs.items():
            arguments += [_json([key, model]), _json([key, "(other)"]), *(str(figures[name]) for name in _FIGURES)]
        arguments += [_json(_entry(info)) for info in infos[max(0, len(infos) - limit) :]]
        return bool(self._redis().eval(_RECORD, len(self._keys), *self._keys, *arguments))

    def place(self) -> int | None:
        """Tell the `seq` of the last record counted, without beginning a run; None: Redis knows of none."""
        seq = cast("str | None", self._redis().hget(self._keys[0], "seq"))
        return None if seq is None else int(seq)

    def begin(self, who: str, since: int) -> bool:
        """Join, and begin a run after *since*; False: others take part in one, which goes on."""
        keys = self._keys
        return bool(self._redis().eval(_BEGIN, len(keys), *keys, who, str(PRESENT_FOR), str(since)))

    def join(self, who: str) -> None:
        """Take part in the run as *who*, for `PRESENT_FOR` seconds from now."""
        self._redis().eval(_JOIN, len(self._keys), *self._keys, who, str(PRESENT_FOR))

    def leave(self, who: str) -> Run | None:
        """Take part no longer; the last to leave ends the run and is given what it was. None: no calls, or not ended.

        Nobody else is given it, and what is counted from now on is the next run's.
        """
        found = cast("list[Any] | None", self._redis().eval(_LEAVE, len(self._keys), *self._keys, who))
        if not found:
            return None
        seq, first, flat = found
        return _run(dict(zip(flat[::2], flat[1::2], strict=True)), since=first, upto=int(seq or 0))

    def get_stats(self) -> dict[str, Any]:
        """Tell the run's figures so far, as `GET /v1/stats/memory` has them for an admin."""
        return read(self._redis(), self._prefix)

    def _redis(self) -> redis.Redis:
        if self._client is None:
            self._client = connect(self._url)
        return self._client


def read(client: redis.Redis, prefix: str, key: str | None = None) -> dict[str, Any]:
    """Read the run's figures so far: of all calls, or of those made with *key* (a fingerprint). Newest first.

    Raises redis.RedisError if Redis cannot be asked.
    """
    run_key, totals_key, newest_key, _ = _keys(prefix)
    with client.pipeline(transaction=True) as ask:
        ask.hget(run_key, "first")
        ask.hgetall(totals_key)
        ask.lrange(newest_key, 0, -1)
        first, totals, newest = ask.execute()
    entries = [json.loads(entry) for entry in newest]
    if key is not None:
        entries = [entry for entry in entries if entry["key"] == key]
    return {**_run(totals, since=first, key=key).plain(), "newest": entries}


def _keys(prefix: str) -> tuple[str, str, str, str]:
    return f"{prefix}memory:run", f"{prefix}memory:totals", f"{prefix}memory:newest", f"{prefix}memory:present"


def _sums(infos: Sequence[ResponseInfo]) -> dict[tuple[str, str], dict[str, int]]:
    """Add up a batch, so that Redis has few additions to make."""
    pairs: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_FIGURES, 0))
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


def _run(totals: dict[str, str], *, since: str | None, upto: int = 0, key: str | None = None) -> Run:
    """Put the totals of the pairs together, per model, most used first."""
    models: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_FIGURES, 0))
    for field, value in totals.items():
        name, bracket, pair = field.partition("[")
        whose, model = json.loads(bracket + pair)
        if key in {None, whose}:
            models[model][name] += int(value)
    shown = [(model, _figures(sums)) for model, sums in models.items()]
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


def _entry(info: ResponseInfo) -> dict[str, Any]:
    """Keep what a list of newest calls shows."""
    plain = ("request_id", "timestamp", "model", "user", "key", "endpoint", "stream", "outcome", "status", "error")
    return {
        **{name: info[name] for name in plain},
        "duration": info["duration"],
        "ttft": info["ttft"],
        "tokens": info["token_usage"],
        "usage_source": info["usage_source"],
    }


def _json(value: Any) -> str:
    # ASCII only: half a surrogate pair has no UTF-8 to be sent in.
    return json.dumps(value, separators=(",", ":"))
