-- A worker says that it is there. KEYS events, workers · ARGV queue/node, microseconds after which it counts as away
redis.call('ZADD', KEYS[2], whole(now), ARGV[1])
return redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now - ARGV[2]))
