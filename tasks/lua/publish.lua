-- What one guild may choose from. KEYS events, catalog · ARGV catalog
return redis.call('SET', KEYS[2], ARGV[1]) and 1
