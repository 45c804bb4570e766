-- Ends a queued job, or asks the owner of a running one to end it. Tells the state after it; false: no such job.
-- KEYS events, record
local record = KEYS[2]
local state = redis.call('HGET', record, 'state')
if state == 'QUEUED' then
  close(record, 'CANCELLED', 'cancelled')
elseif state == 'RUNNING' then
  redis.call('HSET', record, 'state', 'CANCELLING')
  emit(record, 'cancelling')
end
return redis.call('HGET', record, 'state')
