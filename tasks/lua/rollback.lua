-- Lets the version speak that was live before. Tells which one is live then, 0 if there was no other; and 1 if this
-- call did it. KEYS events, versions · ARGV the version to go back from: if it is not live, another call did it before;
-- what tells this call from others, since it may be sent twice
local live = redis.call('HGET', KEYS[2], 'live')
if live ~= ARGV[1] then
  return { tonumber(live) or 0, redis.call('HGET', KEYS[2], 'by') == ARGV[2] and 1 or 0 }
end
local jobs = lived(KEYS[2])
while #jobs > 0 do
  local version = redis.call('HGET', KEYS[2], 'of:' .. jobs[#jobs])
  if version and version ~= live then
    speak(KEYS[2], version, jobs)
    redis.call('HSET', KEYS[2], 'by', ARGV[2])
    return { tonumber(version), 1 }
  end
  table.remove(jobs)
end
return { 0, 0 }
