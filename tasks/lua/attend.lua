-- A worker says that it is there, and what it trains on.
-- KEYS events, workers, machines · ARGV queue/node, microseconds after which it counts as away, machine or ''
redis.call('ZADD', KEYS[2], whole(now), ARGV[1])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[3], 'last', ARGV[3])
end
return redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now - ARGV[2]))
