-- Holds the lease and tells the owner where it stands: kept, pause, cancel or lost. Undoes a reap that nobody has
-- claimed.
-- KEYS events, record · ARGV fence, lease in microseconds
local record = KEYS[2]
local mine, state = owned(record, ARGV[1])
if not mine or ended(state) then
  return 'lost'
end
local r = redis.call('HMGET', record, 'waiting', 'running', 'reaped')
if state == 'QUEUED' or state == 'PAUSED' then
  if not r[3] then
    return 'lost'
  end
  redis.call('ZREM', r[1], record)
  local kind = state == 'QUEUED' and 'started' or 'pausing'
  state = state == 'QUEUED' and 'RUNNING' or 'PAUSING'
  redis.call('HSET', record, 'state', state)
  redis.call('HDEL', record, 'reaped')
  redis.call('HINCRBY', record, 'crashes', -1)
  emit(record, kind)
end
redis.call('ZADD', r[2], whole(now + ARGV[2]), record)
return ({ CANCELLING = 'cancel', PAUSING = 'pause' })[state] or 'kept'
