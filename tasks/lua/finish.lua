-- A job's end as its owner tells it, once. In the same step a succeeded training registers a version of each persona
-- that it gave a voice here, and the event tells the number where it is one persona's; a check becomes the newest of
-- the run that it checked, and of those that compared the same two by as many replies.
-- KEYS events, record, then the versions of each persona, or the checks of the one that was checked
-- ARGV fence, state, kind, field, value, a version's JSON or the check's, then the places of the check
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
for i = 3, ARGV[4] == 'report' and #KEYS or 2 do
  local version = redis.call('HGET', KEYS[i], 'of:' .. id)
  if not version then
    version = redis.call('HINCRBY', KEYS[i], 'newest', 1)
    redis.call('HSET', KEYS[i], 'of:' .. id, version, 'version:' .. version, ARGV[6])
    if redis.call('HEXISTS', KEYS[i], 'live') == 0 then
      speak(KEYS[i], version, { id })
    end
  end
  if #KEYS == 3 then
    table.insert(payload, 'version')
    table.insert(payload, tostring(version))
  end
end
for i = 7, ARGV[4] == 'check' and #ARGV or 6 do
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[6])
end
close(record, ARGV[2], ARGV[3], payload)
return 1
