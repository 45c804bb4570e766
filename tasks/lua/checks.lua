-- The newest check of each adapter that speaks for a persona, and of each two that were compared. KEYS events, checks
return redis.call('HGETALL', KEYS[2])
