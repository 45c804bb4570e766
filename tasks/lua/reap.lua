-- Takes back what dead workers held: every expired lease, and all that an earlier process of the named node claimed.
-- KEYS events, running · ARGV node or '', boot, crash limit, the problem to end with at the limit
local reaped = 0
for _, record in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local holder = redis.call('HMGET', record, 'node', 'boot')
  local expired = tonumber(redis.call('ZSCORE', KEYS[2], record)) < now
  if redis.call('EXISTS', record) == 0 then
    -- Lost, as by an eviction: nothing is left to put back, and it must not keep the others from it.
    redis.call('ZREM', KEYS[2], record)
  elseif expired or (holder[1] == ARGV[1] and holder[2] ~= ARGV[2]) then
    redis.call('HSET', record, 'reaped', 1)
    put_back(record, true, ARGV[3], ARGV[4])
    reaped = reaped + 1
  end
end
return reaped
