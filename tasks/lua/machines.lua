-- What the workers train on that are there; if none is, what the last one trained on.
-- KEYS events, workers, machines · ARGV microseconds after which a worker counts as away
local found = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], whole(now - ARGV[1]), '+inf')) do
  table.insert(found, redis.call('HGET', KEYS[3], worker) or nil)
end
if #found == 0 then
  table.insert(found, redis.call('HGET', KEYS[3], 'last') or nil)
end
return found
