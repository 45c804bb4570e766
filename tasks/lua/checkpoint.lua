-- The pointer to the newest checkpoint; getting further forgives earlier crashes.
-- KEYS events, record · ARGV fence, step
local mine, state = owned(KEYS[2], ARGV[1])
local before = tonumber(redis.call('HGET', KEYS[2], 'checkpoint')) or -1
if not mine or ended(state) or tonumber(ARGV[2]) <= before then
  return 0
end
redis.call('HSET', KEYS[2], 'checkpoint', ARGV[2], 'crashes', 0)
return 1
