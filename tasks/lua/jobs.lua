-- A guild's training jobs, newest first. KEYS events, jobs · ARGV how many
local views = {}
for _, record in ipairs(redis.call('ZREVRANGE', KEYS[2], 0, ARGV[1] - 1)) do
  table.insert(views, view(record))
end
return views
