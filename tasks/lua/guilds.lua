-- The guilds that were seen. KEYS events, guilds
return redis.call('SMEMBERS', KEYS[2])
