"""How the `memory` plugin's state stands in Redis, and the Lua scripts that change it: each does all of it or nothing.

KEYS, in this order: a hash of the run (`seq`: the place, `since`: the place after which the run began, `first`: the
time of its first call, `pairs`), a hash of the totals, a list of the newest calls, a sorted set of who takes part.
"""

from __future__ import annotations

FIGURES = (
    "requests", "prompt_tokens", "prompt_known", "completion_tokens", "completion_known", "total_tokens",
    "total_known", "duration_us", "duration_known",
)  # fmt: skip
"""What is added up for each pair of key and model; durations in whole microseconds."""


def keys(prefix: str) -> tuple[str, str, str, str]:
    """Name the keys of the installation whose keys begin with *prefix*."""
    return f"{prefix}memory:run", f"{prefix}memory:totals", f"{prefix}memory:newest", f"{prefix}memory:present"


# ARGV: since.
POSITION = """
if redis.call('HSETNX', KEYS[1], 'seq', ARGV[1]) == 1 then redis.call('HSET', KEYS[1], 'since', ARGV[1]) end
return redis.call('HGET', KEYS[1], 'seq')
"""

# ARGV: after, upto, max_records, max_pairs, time of the first call, number of pairs, number of figures,
# then for each pair: its name, the name to use if there are too many, its figures; then the newest calls, oldest first.
RECORD = """
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
""".replace("NAMES", ", ".join(f"'{name}'" for name in FIGURES))

# ARGV: who, and for how long. By the clock of Redis, the one that all of them share.
JOIN = """
redis.call('ZADD', KEYS[4], redis.call('TIME')[1] + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[4], ARGV[2])
"""

_ARE_THERE_OTHERS = """
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', redis.call('TIME')[1])
local others = redis.call('ZCARD', KEYS[4]) > 0
"""

# ARGV: who, for how long, since.
BEGIN = f"""
{_ARE_THERE_OTHERS}
{JOIN}
if others then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'seq', ARGV[3], 'since', ARGV[3])
return 1
"""

# ARGV: since. Who takes part goes on doing so.
RESTART = """
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'seq', ARGV[1], 'since', ARGV[1])
"""

# ARGV: who.
LEAVE = f"""
{_ARE_THERE_OTHERS}
if others then return false end
local totals = redis.call('HGETALL', KEYS[2])
if #totals == 0 then return false end
local seq = redis.call('HGET', KEYS[1], 'seq')
local run = {{seq, redis.call('HGET', KEYS[1], 'first'), totals}}
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('HDEL', KEYS[1], 'first', 'pairs')
if seq then redis.call('HSET', KEYS[1], 'since', seq) end
return run
"""
