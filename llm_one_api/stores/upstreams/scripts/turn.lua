-- One process's turn: it says how its upstreams stand and which conditions it has changed, and hears of the others.
-- `changed` are {upstream, µs, ms that it is kept}, and the conditions come behind; of two the later one stands.
local standings, figures, FIRST = ARGV[2], ARGV[3], 3
redis.call('ZADD', PROCESSES, int(now), asked.process)
if standings == '' then
  redis.call('HDEL', STANDINGS, asked.process)
else
  redis.call('HSET', STANDINGS, asked.process, standings)
end

local version = redis.call('GET', VERSION) or ''
for n, one in ipairs(asked.changed) do
  local name, at, condition = one[1], one[2], int(one[2]) .. ' ' .. ARGV[FIRST + n]
  local known = redis.call('HGET', CONDITIONS, name)
  if not known or tonumber(known:match('^%d+')) < at then
    redis.call('HSET', CONDITIONS, name, condition)
    redis.call('ZADD', KEPT, int(now + one[3]), name)
    version = int(math.max(micros, (tonumber(version) or 0) + 1))
    redis.call('SET', VERSION, version)
  end
end

-- Now and then: the figures, and what is over.
if figures ~= '' then
  redis.call('HSET', FIGURES, asked.process, figures)
  local gone = redis.call('ZRANGEBYSCORE', PROCESSES, '-inf', '(' .. int(now - asked.figures_ms), 'LIMIT', 0, 100)
  if #gone > 0 then
    redis.call('ZREM', PROCESSES, unpack(gone))
    redis.call('HDEL', STANDINGS, unpack(gone))
    redis.call('HDEL', FIGURES, unpack(gone))
  end
  local over = redis.call('ZRANGEBYSCORE', KEPT, '-inf', int(now), 'LIMIT', 0, 100)
  if #over > 0 then
    redis.call('ZREM', KEPT, unpack(over))
    redis.call('HDEL', CONDITIONS, unpack(over))
  end
  for _, key in ipairs({PROCESSES, STANDINGS, FIGURES, CONDITIONS, KEPT, VERSION}) do
    redis.call('PEXPIRE', key, 2 * asked.kept_ms)
  end
end

local found, others = told(STANDINGS, asked.alive_ms, asked.process)
local conditions = {}
if version ~= asked.version then conditions = redis.call('HGETALL', CONDITIONS) end
return {int(micros), version, others, found, conditions}
