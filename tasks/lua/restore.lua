-- Registers versions again that this Redis does not know any more, each under its old number where that is free.
-- KEYS events, versions
-- ARGV the job whose version was live or '', the jobs of those that were live in their order, then of each version its
-- job, its number, its JSON
local restored = 0
for i = 3, #ARGV, 3 do
  if redis.call('HEXISTS', KEYS[2], 'of:' .. ARGV[i]) == 0 then
    local newest = tonumber(redis.call('HGET', KEYS[2], 'newest')) or 0
    local version = tonumber(ARGV[i + 1])
    if redis.call('HEXISTS', KEYS[2], 'version:' .. version) == 1 then
      version = newest + 1
    end
    redis.call('HSET', KEYS[2], 'of:' .. ARGV[i], version, 'version:' .. version, ARGV[i + 2],
      'newest', math.max(newest, version))
    redis.call('HSETNX', KEYS[2], 'live', version)
    restored = restored + 1
  end
end
local live = redis.call('HGET', KEYS[2], 'of:' .. ARGV[1])
if restored > 0 and live then
  local jobs = split(ARGV[2])
  if jobs[#jobs] ~= ARGV[1] then
    table.insert(jobs, ARGV[1])
  end
  speak(KEYS[2], live, jobs)
end
return restored
