-- Sets what is booked to what the ledger says up to `seq`; the caller keeps the ledger from growing meanwhile.
-- Comes in pieces: `booked` are {window, tokens, requests, nanos}; `drop` are pending calls that are in the ledger; with
-- the `last` come the `boosts`, {name, text}. The counters are whole when all pieces have come to the same data.
if asked.first then
  redis.call('SET', P .. 'recount', asked.epoch, 'EX', 600)
elseif redis.call('GET', P .. 'recount') ~= asked.epoch then
  return ''
end
local state = P .. 'state'
-- From now on a booking up to there adds nothing any more: it is in what is set here.
if redis.call('EXISTS', state) == 1 then redis.call('HSET', state, 'seq', int(asked.seq)) end
for _, row in ipairs(asked.booked) do
  local key = P .. 'w:' .. row[1]
  redis.call('HSET', key, 'bt', int(row[2]), 'br', int(row[3]), 'bc', int(row[4]))
  let_end(row[1], key)
end
for _, id in ipairs(asked.drop) do drop_pending(id) end
if not asked.last then return asked.epoch end

redis.call('DEL', P .. 'recount', P .. 'boosts')
for _, boost in ipairs(asked.boosts) do redis.call('HSET', P .. 'boosts', boost[1], boost[2]) end
-- Another run of the server may have begun with data of the past: then the relays settle anew what is not booked.
local epoch = redis.call('HGET', state, 'epoch')
if not epoch or redis.call('HGET', state, 'run_id') ~= asked.run_id then epoch = asked.epoch end
redis.call('HSET', state, 'epoch', epoch, 'seq', int(asked.seq), 'run_id', asked.run_id)
return epoch
