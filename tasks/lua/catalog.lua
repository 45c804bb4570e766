-- A guild's catalog, or the shipped one while its own is not published yet; asking makes the guild known to workers.
-- KEYS events, catalog, shipped catalog, guilds · ARGV guild
redis.call('SADD', KEYS[4], ARGV[1])
return redis.call('GET', KEYS[2]) or redis.call('GET', KEYS[3])
