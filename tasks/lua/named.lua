-- A guild's newest job of one name. KEYS events, names · ARGV name
local record = redis.call('HGET', KEYS[2], ARGV[1])
return record and view(record)
