-- A process ends: what it had under way is no more.
redis.call('ZREM', PROCESSES, asked.process)
redis.call('HDEL', STANDINGS, asked.process)
redis.call('HDEL', FIGURES, asked.process)
return 1
