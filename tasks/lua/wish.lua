-- Takes in a wish to pause or to resume. Tells the state after it; false: no such job.
-- KEYS events, record · ARGV pause or resume, when it was wished in microseconds
hear(KEYS[2], ARGV[1], ARGV[2])
return redis.call('HGET', KEYS[2], 'state')
