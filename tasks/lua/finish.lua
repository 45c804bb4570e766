-- A job's end as its owner tells it, once. A succeeded persona job registers its version here, in the same step.
-- KEYS events, record, versions · ARGV fence, state, kind, field, value, version's JSON or ''
local record = KEYS[2]
local mine, state = owned(record, ARGV[1])
if not mine then
  return 0
end
if ended(state) then
  return 1
end
local payload = {}
if ARGV[4] ~= '' then
  payload = { ARGV[4], ARGV[5] }
end
if ARGV[6] ~= '' then
  local id = redis.call('HGET', record, 'id')
  local version = redis.call('HGET', KEYS[3], 'of:' .. id)
  if not version then
    version = redis.call('HINCRBY', KEYS[3], 'newest', 1)
    redis.call('HSET', KEYS[3], 'of:' .. id, version, 'version:' .. version, ARGV[6])
    redis.call('HSETNX', KEYS[3], 'live', version)
  end
  table.insert(payload, 'version')
  table.insert(payload, tostring(version))
end
close(record, ARGV[2], ARGV[3], payload)
return 1
