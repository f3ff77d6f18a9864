-- Charges ended calls: what they held becomes pending. `charges` are {end in the segment, id, windows, tokens, nanos}.
purge()
local mark = tonumber(redis.call('HGET', P .. 'marks', asked.segment) or '0')
for _, charge in ipairs(asked.charges) do
  local at, id = charge[1], charge[2]
  if asked.adopted or at > mark then
    drop_hold(id)
    if may_be_charged(id) then
      local tokens, nanos = math.min(charge[4], MOST), math.min(charge[5], MOST)
      shift(charge[3], 'p', tokens, 1, nanos)
      redis.call('HSET', P .. 'pending', id, cmsgpack.pack({charge[3], tokens, nanos}))
      if asked.adopted then see(id) end
    end
  end
  if at > mark then mark = at end
end
if not asked.adopted and #asked.charges > 0 then redis.call('HSET', P .. 'marks', asked.segment, int(mark)) end
for _, segment in ipairs(asked.freed) do redis.call('HDEL', P .. 'marks', segment) end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'seen', '-inf', int(now - SEEN), 'LIMIT', 0, 500)) do
  redis.call('ZREM', P .. 'seen', id)
end
return redis.call('HGET', P .. 'state', 'epoch') or ''
