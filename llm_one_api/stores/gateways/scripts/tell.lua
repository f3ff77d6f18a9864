-- A process tells how far it has counted: `counts` are {name, how far it knows to be counted here, how far it is}.
-- What is seen here goes before what it knows: it may have heard no answer. ARGV[2] is how its journal fares, or empty.
for _, one in ipairs(asked.counts) do
  local name, known, at = one[1], one[2], one[3]
  local field = asked.process .. ' ' .. name
  local seen = tonumber(redis.call('HGET', SEEN, field) or known)
  if at > seen then redis.call('HINCRBY', COUNTS, name, int(at - seen)) end
  redis.call('HSET', SEEN, field, int(at))
end
redis.call('ZADD', ALIVE, int(now), asked.process)
if ARGV[2] ~= '' then
  redis.call('HSET', JOURNALS, asked.journal, ARGV[2])
  redis.call('ZADD', HEARD, int(now), asked.journal)
end

-- What is over. A process that comes back says itself how far it knows to be counted.
for _, process in ipairs(redis.call('ZRANGEBYSCORE', ALIVE, '-inf', int(now - asked.forget_ms), 'LIMIT', 0, 100)) do
  redis.call('ZREM', ALIVE, process)
  for _, one in ipairs(asked.counts) do redis.call('HDEL', SEEN, process .. ' ' .. one[1]) end
end
for _, journal in ipairs(redis.call('ZRANGEBYSCORE', HEARD, '-inf', int(now - asked.forget_ms), 'LIMIT', 0, 100)) do
  redis.call('ZREM', HEARD, journal)
  redis.call('HDEL', JOURNALS, journal)
end
return 1
