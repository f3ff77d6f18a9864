-- Charges ended calls: what they held becomes pending. `charges` are {end in the segment, id, windows, tokens, nanos}.
purge()
local mark = tonumber(redis.call('HGET', P .. 'marks', asked.segment) or '0')
for _, charge in ipairs(asked.charges) do
  local at, id = charge[1], charge[2]
  if (asked.adopted or at > mark) and redis.call('HEXISTS', P .. 'pending', id) == 0 and not redis.call('ZSCORE', P .. 'seen', id) then
    drop_hold(id)
    shift(charge[3], 'p', charge[4], 1, charge[5])
    redis.call('HSET', P .. 'pending', id, cmsgpack.pack({charge[3], charge[4], charge[5]}))
    if asked.adopted then see(id) end
  end
  if not asked.adopted and at > mark then mark = at end
end
if not asked.adopted and #asked.charges > 0 then redis.call('HSET', P .. 'marks', asked.segment, int(mark)) end
for _, segment in ipairs(asked.freed) do redis.call('HDEL', P .. 'marks', segment) end
redis.call('ZREMRANGEBYSCORE', P .. 'seen', '-inf', int(now - SEEN))
return redis.call('HGET', P .. 'state', 'epoch') or ''
