-- What all scripts begin with. ARGV[1] is msgpack; `ahead` moves the clock, for tests.
local asked = cmsgpack.unpack(ARGV[1])
local P = asked.prefix
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + asked.ahead
local second = math.floor(now / 1000)
local MINUTE = 60
local KEPT = 75 * 24 * 3600 -- seconds that a window of a day or a month is kept: longer than it can be open
local SEEN = 3 * 24 * 3600 * 1000
local MOST = 1e15 -- of one call: sums of it stay exact, and no counter can overflow

-- Whole numbers as text: Lua would write large ones with an exponent.
local function int(n) return string.format('%.0f', n) end

-- A new window of a day or a month ends by itself; one of all time does not.
local function let_end(window, key)
  if not window:find(':total:[^:]*$') and redis.call('TTL', key) == -1 then redis.call('EXPIRE', key, KEPT) end
end

-- Adds to what windows have `b`ooked, `p`ending or `h`eld.
local function shift(windows, state, tokens, requests, nanos)
  for _, window in ipairs(windows) do
    local key = P .. 'w:' .. window
    if redis.call('HINCRBY', key, state .. 'r', int(requests)) == 1 and requests == 1 then let_end(window, key) end
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
  tokens, nanos = math.min(tokens, MOST), math.min(nanos, MOST)
  if redis.call('HSETNX', P .. 'holds', id, cmsgpack.pack({windows, tokens, nanos})) == 1 then
    shift(windows, 'h', tokens, 1, nanos)
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

-- Whether a call is neither settled nor booked, as far as that is remembered.
local function may_be_charged(id)
  return redis.call('HEXISTS', P .. 'pending', id) == 0 and not redis.call('ZSCORE', P .. 'seen', id)
end

local function see(id) redis.call('ZADD', P .. 'seen', int(now), id) end

-- Leases that ended give back what they held; a bounded number at a time.
local function purge()
  local ended = redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', int(now), 'LIMIT', 0, 100)
  for _, id in ipairs(ended) do drop_hold(id) end
  return #ended
end

-- What was used in the last 60 seconds: the list {second, amount, second, amount, ...} and its sum. A use counts for
-- 60 to 61 seconds, so that no 60 seconds ever have more than the limit. All that a script does shares what it read.
local minutes = {}
local function minute(key)
  local found = minutes[key]
  if found then return found end
  found = {list = {}, sum = 0}
  minutes[key] = found
  local packed = redis.call('GET', key)
  if packed then
    local old, list = cmsgpack.unpack(packed), found.list
    for n = 1, #old, 2 do
      -- What seems to be of a later minute was used before the clock was set back.
      if old[n] >= second - MINUTE and old[n] <= second + MINUTE then
        list[#list + 1] = old[n]
        list[#list + 1] = old[n + 1]
        found.sum = found.sum + old[n + 1]
      end
    end
  end
  return found
end

local function use_minute(found, amount)
  local list = found.list
  if list[#list - 1] == second then
    list[#list] = list[#list] + amount
  else
    list[#list + 1] = second
    list[#list + 1] = amount
  end
  found.sum = found.sum + amount
  found.changed = true
end

local function keep_minutes()
  for key, found in pairs(minutes) do
    if found.changed then redis.call('SET', key, cmsgpack.pack(found.list), 'EX', 2 * MINUTE + 2) end
  end
end

-- In how many ms *amount* fits under *limit*.
local function retry_in(found, limit, amount)
  local list, sum = found.list, found.sum
  for n = 1, #list, 2 do
    sum = sum - list[n + 1]
    if sum + amount <= limit then return (list[n] + MINUTE + 1) * 1000 - now end
  end
  return MINUTE * 1000
end

local function reset_in(found)
  local list = found.list
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
