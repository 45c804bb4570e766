-- Knows a check again that this Redis has lost, in those of its places that no other has.
-- KEYS events, checks · ARGV the check, then its places
local known = 0
for i = 2, #ARGV do
  known = known + redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[1])
end
return known
