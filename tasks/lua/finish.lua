-- A job's end as its owner tells it, once. A succeeded job registers a version of each persona that it gave a voice
-- here, in the same step; the event tells the number where it is one persona's.
-- KEYS events, record, versions of each persona · ARGV fence, state, kind, field, value, a version's JSON
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
local id = redis.call('HGET', record, 'id')
for i = 3, #KEYS do
  local version = redis.call('HGET', KEYS[i], 'of:' .. id)
  if not version then
    version = redis.call('HINCRBY', KEYS[i], 'newest', 1)
    redis.call('HSET', KEYS[i], 'of:' .. id, version, 'version:' .. version, ARGV[6])
    redis.call('HSETNX', KEYS[i], 'live', version)
  end
  if #KEYS == 3 then
    table.insert(payload, 'version')
    table.insert(payload, tostring(version))
  end
end
close(record, ARGV[2], ARGV[3], payload)
return 1
