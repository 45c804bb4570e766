-- Lets one version speak. KEYS events, versions · ARGV version
local told = redis.call('HGET', KEYS[2], 'version:' .. ARGV[1])
if not told then
  return 0
end
local jobs, job = lived(KEYS[2]), cjson.decode(told).job_id
if jobs[#jobs] ~= job then
  table.insert(jobs, job)
end
speak(KEYS[2], ARGV[1], jobs)
return 1
