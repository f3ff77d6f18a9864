-- What all scripts begin with. ARGV[1] is msgpack; `ahead` moves the clock, for tests.
local asked = cmsgpack.unpack(ARGV[1])
local P = asked.prefix
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2]) + asked.ahead * 1000
local now = math.floor(micros / 1000)
local PROCESSES, STANDINGS, FIGURES = P .. 'processes', P .. 'standings', P .. 'figures'
local CONDITIONS, VERSION, KEPT = P .. 'conditions', P .. 'version', P .. 'kept'

-- Whole numbers as text: Lua would write large ones with an exponent.
local function int(n) return string.format('%.0f', n) end

-- Gives the values that a hash has for those processes that were here less than `ms` ago, but for `me`.
local function told(hash, ms, me)
  local names = {}
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', PROCESSES, int(now - ms), '+inf', 'LIMIT', 0, 5000)) do
    if name ~= me then names[#names + 1] = name end
  end
  if #names == 0 then return {}, 0 end
  local found = {}
  for _, value in ipairs(redis.call('HMGET', hash, unpack(names))) do
    if value then found[#found + 1] = value end
  end
  return found, #names
end
