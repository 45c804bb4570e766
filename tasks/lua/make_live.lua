-- Lets one version speak. KEYS events, versions · ARGV version
if redis.call('HEXISTS', KEYS[2], 'version:' .. ARGV[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[2], 'live', ARGV[1])
return 1
