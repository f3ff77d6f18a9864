-- Gives what the pages show: what processes have told of late, by process, what they have under way, the conditions.
local names = redis.call('ZRANGEBYSCORE', PROCESSES, int(now - asked.figures_ms), '+inf', 'LIMIT', 0, 5000)
local figures = {}
if #names > 0 then figures = redis.call('HMGET', FIGURES, unpack(names)) end
return {int(micros), names, figures, told(STANDINGS, asked.alive_ms, ''), redis.call('HGETALL', CONDITIONS)}
