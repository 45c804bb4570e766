-- Ends a queued or paused job, or asks the owner of a running one to end it. Tells the state after it; false: no such job.
-- KEYS events, record
local record = KEYS[2]
local state = redis.call('HGET', record, 'state')
if state == 'QUEUED' or state == 'PAUSED' then
  close(record, 'CANCELLED', 'cancelled')
elseif state == 'RUNNING' or state == 'PAUSING' then
  redis.call('HSET', record, 'state', 'CANCELLING')
  emit(record, 'cancelling')
end
return redis.call('HGET', record, 'state')
