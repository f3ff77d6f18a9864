-- What both scripts begin with. ARGV[1] is msgpack.
local asked = cmsgpack.unpack(ARGV[1])
local P = asked.prefix
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local COUNTS, SEEN, ALIVE, JOURNALS, HEARD = P .. 'counts', P .. 'seen', P .. 'alive', P .. 'journals', P .. 'heard'

-- Whole numbers as text: Lua would write large ones with an exponent.
local function int(n) return string.format('%.0f', n) end
