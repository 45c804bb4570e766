-- Every field of one persona's registry. KEYS events, versions
return redis.call('HGETALL', KEYS[2])
