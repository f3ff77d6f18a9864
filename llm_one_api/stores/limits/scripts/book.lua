-- Takes note of what the ledger has: pending becomes booked. `bookings` are {id, windows, tokens, nanos, seq, new}.
-- What stands before the recount's place is counted by it; where none was made yet, by the one that comes.
purge()
local counted = tonumber(redis.call('HGET', P .. 'state', 'seq') or 'inf')
for _, booking in ipairs(asked.bookings) do
  local id, windows, seq, new = booking[1], booking[2], booking[5], booking[6]
  local was_pending = drop_pending(id)
  local is_first = was_pending or (new and not redis.call('ZSCORE', P .. 'seen', id))
  if seq > counted and is_first then
    shift(windows, 'b', math.min(booking[3], MOST), 1, math.min(booking[4], MOST))
  end
  if not was_pending then drop_hold(id) end
  -- Out of order: its settlement comes too late; or a second copy came first, and the first comes too late.
  if is_first and (was_pending ~= nil) ~= new then see(id) end
end
return 1
