-- Takes note of what the ledger has: pending becomes booked. `bookings` are {id, windows, tokens, nanos, seq, new}.
local counted = tonumber(redis.call('HGET', P .. 'state', 'seq') or '-1')
if counted < 0 then return 0 end -- the recount that comes will count them
for _, booking in ipairs(asked.bookings) do
  local id, windows, seq, new = booking[1], booking[2], booking[5], booking[6]
  local was_pending = drop_pending(id)
  if seq > counted and (was_pending or new) then
    shift(windows, 'b', booking[3], 1, booking[4])
    if not was_pending then see(id) end
  end
  if not was_pending then drop_hold(id) end
end
return 1
