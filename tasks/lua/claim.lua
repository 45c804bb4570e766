-- The oldest queued job becomes its caller's for one lease; the same claim, sent twice, gets the same job.
-- KEYS events, waiting, running · ARGV node, boot, claim, lease in microseconds
for _, record in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  if redis.call('HGET', record, 'claim') == ARGV[3] then
    return redis.call('HGETALL', record)
  end
end
local record = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
if not record then
  return false
end
local fence = math.max((tonumber(redis.call('HGET', record, 'fence')) or 0) + 1, now)
redis.call('ZREM', KEYS[2], record)
redis.call('ZADD', KEYS[3], whole(now + ARGV[4]), record)
redis.call('HSET', record, 'state', 'RUNNING', 'fence', whole(fence), 'node', ARGV[1], 'boot', ARGV[2], 'claim', ARGV[3])
redis.call('HINCRBY', record, 'attempts', 1)
redis.call('HDEL', record, 'reaped')
emit(record, 'started')
return redis.call('HGETALL', record)
