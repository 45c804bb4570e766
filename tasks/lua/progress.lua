-- One look at a running job.
-- KEYS events, record · ARGV fence, progress
local mine, state = owned(KEYS[2], ARGV[1])
if not mine or state ~= 'RUNNING' then
  return 0
end
redis.call('HSET', KEYS[2], 'progress', ARGV[2])
emit(KEYS[2], 'progress', { 'progress', ARGV[2] })
return 1
