-- The newest check of each adapter that speaks for a persona. KEYS events, checks
return redis.call('HGETALL', KEYS[2])
