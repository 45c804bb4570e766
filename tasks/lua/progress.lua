-- One look at a running job. The record always shows it; the stream only now and then, and when the phase changes.
-- KEYS events, record · ARGV fence, progress, phase, least microseconds between two events of one phase
local mine, state = owned(KEYS[2], ARGV[1])
if not mine or not (state == 'RUNNING' or state == 'PAUSING') then
  return 0
end
redis.call('HSET', KEYS[2], 'progress', ARGV[2])
local told = redis.call('HMGET', KEYS[2], 'told_phase', 'told_at')
if told[1] ~= ARGV[3] or now - (tonumber(told[2]) or 0) >= tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[2], 'told_phase', ARGV[3], 'told_at', whole(now))
  emit(KEYS[2], 'progress', { 'progress', ARGV[2] })
end
return 1
