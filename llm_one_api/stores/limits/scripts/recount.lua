-- Sets what is booked to what the ledger says up to `seq`; the caller keeps the ledger from growing meanwhile.
-- `booked` are {window, tokens, requests, nanos}; `drop` are pending calls that are in the ledger; `boosts` {name, text}.
for _, id in ipairs(asked.drop) do drop_pending(id) end
for _, row in ipairs(asked.booked) do
  local key = P .. 'w:' .. row[1]
  redis.call('HSET', key, 'bt', int(row[2]), 'br', int(row[3]), 'bc', int(row[4]))
  if not row[1]:find(':total:', 1, true) and redis.call('TTL', key) == -1 then redis.call('EXPIRE', key, KEPT) end
end
redis.call('DEL', P .. 'boosts')
for _, boost in ipairs(asked.boosts) do redis.call('HSET', P .. 'boosts', boost[1], boost[2]) end
redis.call('HSETNX', P .. 'state', 'epoch', asked.epoch)
redis.call('HSET', P .. 'state', 'seq', int(asked.seq), 'run_id', asked.run_id)
return redis.call('HGET', P .. 'state', 'epoch')
