-- Gives what was counted, and the journals that were told of lately.
local names = redis.call('ZRANGEBYSCORE', HEARD, int(now - asked.fresh_ms), '+inf', 'LIMIT', 0, 5000)
local journals = {}
if #names > 0 then journals = redis.call('HMGET', JOURNALS, unpack(names)) end
return {redis.call('HGETALL', COUNTS), names, journals}
