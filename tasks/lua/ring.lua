-- Whether a queue's bell must be rung again: jobs wait, no bell is under way, and none was rung lately.
-- KEYS events, waiting, bells (Celery's list), rung · ARGV the least pause in microseconds
if redis.call('ZCARD', KEYS[2]) == 0 or redis.call('LLEN', KEYS[3]) > 0 then
  return 0
end
if now - (tonumber(redis.call('GET', KEYS[4])) or 0) < tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[4], whole(now))
return 1
