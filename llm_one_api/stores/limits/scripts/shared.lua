-- What all scripts begin with. ARGV[1] is msgpack; `ahead` moves the clock, for tests.
local asked = cmsgpack.unpack(ARGV[1])
local P = asked.prefix
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + asked.ahead
local second = math.floor(now / 1000)
local MINUTE = 60
local KEPT = 75 * 24 * 3600 -- seconds that a window of a day or a month is kept: longer than it can be open
local SEEN = 3 * 24 * 3600 * 1000

-- Whole numbers as text: Lua would write large ones with an exponent.
local function int(n) return string.format('%.0f', n) end

local function shift(windows, state, tokens, requests, nanos)
  for _, window in ipairs(windows) do
    local key = P .. 'w:' .. window
    if redis.call('HINCRBY', key, state .. 'r', int(requests)) == requests and requests > 0
       and not window:find(':total:', 1, true) and redis.call('TTL', key) == -1 then
      redis.call('EXPIRE', key, KEPT)
    end
    if tokens ~= 0 then redis.call('HINCRBY', key, state .. 't', int(tokens)) end
    if nanos ~= 0 then redis.call('HINCRBY', key, state .. 'c', int(nanos)) end
  end
end

local function drop_hold(id)
  local packed = redis.call('HGET', P .. 'holds', id)
  if packed then
    local hold = cmsgpack.unpack(packed)
    shift(hold[1], 'h', -hold[2], -1, -hold[3])
    redis.call('HDEL', P .. 'holds', id)
  end
  redis.call('ZREM', P .. 'leases', id)
end

local function hold(id, windows, tokens, nanos)
  if redis.call('HEXISTS', P .. 'holds', id) == 0 then
    shift(windows, 'h', tokens, 1, nanos)
    redis.call('HSET', P .. 'holds', id, cmsgpack.pack({windows, tokens, nanos}))
  end
  redis.call('ZADD', P .. 'leases', int(now + asked.lease), id)
end

local function drop_pending(id)
  local packed = redis.call('HGET', P .. 'pending', id)
  if not packed then return nil end
  local pending = cmsgpack.unpack(packed)
  shift(pending[1], 'p', -pending[2], -1, -pending[3])
  redis.call('HDEL', P .. 'pending', id)
  return pending
end

local function see(id) redis.call('ZADD', P .. 'seen', int(now), id) end

-- Leases that ended give back what they held; a bounded number at a time.
local function purge()
  local ended = redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', int(now), 'LIMIT', 0, 100)
  for _, id in ipairs(ended) do drop_hold(id) end
  return #ended
end

-- What was used in the last 60 seconds, as {second, amount, second, amount, ...}, oldest first, and its sum.
-- A use counts for 60 to 61 seconds, so that no 60 seconds ever have more than the limit.
local function minute(key)
  local packed = redis.call('GET', key)
  local list, sum = {}, 0
  if packed then
    local old = cmsgpack.unpack(packed)
    for n = 1, #old, 2 do
      if old[n] >= second - MINUTE then
        list[#list + 1] = old[n]
        list[#list + 1] = old[n + 1]
        sum = sum + old[n + 1]
      end
    end
  end
  return list, sum
end

local function keep_minute(key, list)
  if #list == 0 then
    redis.call('DEL', key)
  else
    redis.call('SET', key, cmsgpack.pack(list), 'EX', MINUTE + 2)
  end
end

local function use_minute(key, list, amount)
  if amount == 0 then return end
  if list[#list - 1] == second then
    list[#list] = list[#list] + amount
  else
    list[#list + 1] = second
    list[#list + 1] = amount
  end
  keep_minute(key, list)
end

-- In how many ms *amount* fits under *limit*.
local function retry_in(list, sum, limit, amount)
  for n = 1, #list, 2 do
    sum = sum - list[n + 1]
    if sum + amount <= limit then return (list[n] + MINUTE + 1) * 1000 - now end
  end
  return MINUTE * 1000
end

local function reset_in(list)
  if #list == 0 then return 0 end
  return math.max(0, (list[#list - 1] + MINUTE + 1) * 1000 - now)
end

local function places(scope)
  redis.call('ZREMRANGEBYSCORE', P .. 'c:' .. scope, '-inf', int(now))
  return redis.call('ZCARD', P .. 'c:' .. scope)
end

local function take_place(scope, id)
  redis.call('ZADD', P .. 'c:' .. scope, int(now + asked.lease), id)
  redis.call('PEXPIRE', P .. 'c:' .. scope, int(asked.lease * 2))
end
