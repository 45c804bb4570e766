-- What one guild may choose from; written only where it changed, since workers publish it again and again.
-- KEYS events, catalog · ARGV catalog
if redis.call('GET', KEYS[2]) == ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1])
return 1
