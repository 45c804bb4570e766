-- Lets one version speak. Tells 2 if this call did it, 1 if it spoke already, 0 if there is no such version.
-- KEYS events, versions · ARGV version, what tells this call from others, since it may be sent twice
local told = redis.call('HGET', KEYS[2], 'version:' .. ARGV[1])
if not told then
  return 0
end
if redis.call('HGET', KEYS[2], 'live') == ARGV[1] then
  return redis.call('HGET', KEYS[2], 'by') == ARGV[2] and 2 or 1
end
local jobs, job = lived(KEYS[2]), cjson.decode(told).job_id
if jobs[#jobs] ~= job then
  table.insert(jobs, job)
end
speak(KEYS[2], ARGV[1], jobs)
redis.call('HSET', KEYS[2], 'by', ARGV[2])
return 2
