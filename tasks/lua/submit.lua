-- A new job, once: a second submit of the same job only tells its state. One that was wished to pause before this
-- Redis knew it rests at once.
-- KEYS events, record, waiting, running, guilds, jobs, names
-- ARGV guild, id, kind, job, keep, name, when it was wished to pause in microseconds or 0
local record = KEYS[2]
local state = redis.call('HGET', record, 'state')
if state then
  return { 0, state }
end
redis.call('HSET', record, 'guild', ARGV[1], 'id', ARGV[2], 'kind', ARGV[3], 'job', ARGV[4], 'keep', ARGV[5],
  'waiting', KEYS[3], 'running', KEYS[4], 'order', whole(now), 'state', 'QUEUED', 'seq', 0, 'attempts', 0, 'crashes', 0)
redis.call('ZADD', KEYS[3], whole(now), record)
redis.call('SADD', KEYS[5], ARGV[1])
if ARGV[6] ~= '' then
  redis.call('ZADD', KEYS[6], whole(now), record)
  redis.call('HSET', KEYS[7], ARGV[6], record)
end
emit(record, 'queued')
if ARGV[7] ~= '0' then
  hear(record, 'pause', ARGV[7])
end
return { 1, redis.call('HGET', record, 'state') }
