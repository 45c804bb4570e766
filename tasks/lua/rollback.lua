-- Lets the version speak that was live before. Tells which one is live then; 0: there was no other.
-- KEYS events, versions · ARGV the version to go back from: if it is not live, this was done before
local live = redis.call('HGET', KEYS[2], 'live')
if live ~= ARGV[1] then
  return tonumber(live) or 0
end
local jobs = lived(KEYS[2])
while #jobs > 0 do
  local version = redis.call('HGET', KEYS[2], 'of:' .. jobs[#jobs])
  if version and version ~= live then
    speak(KEYS[2], version, jobs)
    return tonumber(version)
  end
  table.remove(jobs)
end
return 0
