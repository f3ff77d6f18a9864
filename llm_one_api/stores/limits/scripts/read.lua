-- Tells what windows, minutes and places hold, once ended leases have given back what they held.
local left = 20
while left > 0 and purge() == 100 do left = left - 1 end
local found = {windows = {}, minutes = {}, places = {}}
for n, window in ipairs(asked.windows) do
  local c = redis.call('HMGET', P .. 'w:' .. window, 'bt', 'br', 'bc', 'pt', 'pr', 'pc', 'ht', 'hr', 'hc')
  for f = 1, 9 do c[f] = tonumber(c[f]) or 0 end
  found.windows[n] = c
end
for n, one in ipairs(asked.minutes) do
  local used = minute(P .. 'r:' .. one[1] .. ':' .. one[2])
  found.minutes[n] = {used.sum, reset_in(used)}
end
for n, scope in ipairs(asked.places) do found.places[n] = places(scope) end
found.now = now
return cmsgpack.pack(found)
