-- Knows a check again that this Redis has lost, unless there is another of the same adapter.
-- KEYS events, checks · ARGV the run that was checked, the check
return redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2])
