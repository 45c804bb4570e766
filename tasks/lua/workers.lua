-- The workers that were there a moment ago. KEYS events, workers · ARGV microseconds after which one counts as away
return redis.call('ZRANGEBYSCORE', KEYS[2], whole(now - ARGV[1]), '+inf')
