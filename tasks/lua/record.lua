-- What every transition shares; store.py puts it in front of each script. KEYS[1] is always the event stream.
local EVENTS_KEPT = 100000
local ENDS_KEPT = 30 * 86400 * 1000 -- milliseconds
local LIVED_KEPT = 50
local ENDS = KEYS[1] .. ':ends'
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2] -- microseconds, by Redis' clock

-- Lua would print a number of this size as 1.7e+15.
local function whole(number)
  return string.format('%.0f', number)
end

-- The next event of a record, counted without a gap; `payload` is a flat list of more fields and their JSON.
-- Tells its id in the stream.
local function emit(record, kind, payload)
  local r = redis.call('HMGET', record, 'guild', 'id', 'state')
  local seq = redis.call('HINCRBY', record, 'seq', 1)
  return redis.call('XADD', KEYS[1], 'MAXLEN', '~', EVENTS_KEPT, '*', 'guild', r[1], 'id', r[2], 'state', r[3],
    'seq', seq, 'kind', kind, 'at', whole(now), unpack(payload or {}))
end

-- How far a record's job has come, as an event tells it.
local function reached(record)
  local r = redis.call('HMGET', record, 'progress', 'checkpoint')
  local told = {}
  for i, name in ipairs({ 'progress', 'checkpoint' }) do
    if r[i] then
      table.insert(told, name)
      table.insert(told, r[i])
    end
  end
  return told
end

-- A record's end: in no queue any more, its payload kept, one last event, which `missed` finds when the stream is
-- trimmed before a door has read it. The event also tells how far the job had come. What a check found is large, so
-- that it stays in the record, where readers of the stream look it up.
local function close(record, state, kind, payload)
  local r = redis.call('HMGET', record, 'waiting', 'running', 'keep')
  redis.call('ZREM', r[1], record)
  redis.call('ZREM', r[2], record)
  redis.call('HSET', record, 'state', state, unpack(payload or {}))
  redis.call('HDEL', record, 'reaped')
  local told = reached(record)
  for i = 1, #(payload or {}), 2 do
    if payload[i] ~= 'check' then
      table.insert(told, payload[i])
      table.insert(told, payload[i + 1])
    end
  end
  local entry = emit(record, kind, told)
  local milliseconds = string.match(entry, '%d+')
  redis.call('HSET', record, 'ended', entry, 'at', whole(now))
  redis.call('ZADD', ENDS, milliseconds, record)
  redis.call('ZREMRANGEBYSCORE', ENDS, '-inf', whole(milliseconds - ENDS_KEPT))
  if r[3] ~= '0' then
    redis.call('EXPIRE', record, r[3])
  end
end

-- A job rests: in no queue, held by nobody, until someone wishes it to go on.
local function rest(record)
  redis.call('HSET', record, 'state', 'PAUSED')
  emit(record, 'paused', reached(record))
end

-- Takes in a wish to pause or to resume, once; one that was made before the newest known is void. A job that goes on
-- waits at its old place, since it was there before those that came while it rested. Whoever runs a job hears of the
-- wish with its next heartbeat; where its owner gives it back after all, the state decides what becomes of it.
local function hear(record, wish, at)
  local r = redis.call('HMGET', record, 'state', 'wished', 'waiting', 'order')
  if not r[1] or tonumber(at) <= (tonumber(r[2]) or 0) then
    return
  end
  redis.call('HSET', record, 'wished', at)
  if wish == 'pause' and r[1] == 'QUEUED' then
    redis.call('ZREM', r[3], record)
    rest(record)
  elseif wish == 'pause' and r[1] == 'RUNNING' then
    redis.call('HSET', record, 'state', 'PAUSING')
    emit(record, 'pausing')
  elseif wish == 'resume' and r[1] == 'PAUSED' then
    redis.call('ZADD', r[3], r[4], record)
    redis.call('HSET', record, 'state', 'QUEUED')
    emit(record, 'resumed')
  elseif wish == 'resume' and r[1] == 'PAUSING' then
    redis.call('HSET', record, 'state', 'RUNNING')
    emit(record, 'resumed')
  end
end

-- The way back from its owner: to its old place in the queue, to rest if that was wished, or to an end if it was
-- being cancelled or is poison. A clean stop counts as no attempt.
local function put_back(record, crashed, limit, problem)
  local r = redis.call('HMGET', record, 'state', 'waiting', 'running', 'order')
  if r[1] == 'CANCELLING' then
    return close(record, 'CANCELLED', 'cancelled')
  end
  if not crashed then
    redis.call('HINCRBY', record, 'attempts', -1)
  elseif redis.call('HINCRBY', record, 'crashes', 1) >= tonumber(limit) then
    return close(record, 'FAILED', 'failed', { 'problem', problem })
  end
  redis.call('ZREM', r[3], record)
  if r[1] == 'PAUSING' then
    return rest(record)
  end
  redis.call('ZADD', r[2], r[4], record)
  redis.call('HSET', record, 'state', 'QUEUED')
  emit(record, 'requeued')
end

-- Whether the caller still owns the record, and its state; a reaped job stays its owner's until another claims it.
local function owned(record, fence)
  local r = redis.call('HMGET', record, 'fence', 'state')
  return r[1] == fence, r[2]
end

local function ended(state)
  return state == 'SUCCEEDED' or state == 'FAILED' or state == 'CANCELLED'
end

-- A record with its place in the queue (1 is next), or false.
local function view(record)
  local fields = redis.call('HGETALL', record)
  if #fields == 0 then
    return false
  end
  local rank = redis.call('ZRANK', redis.call('HGET', record, 'waiting'), record)
  return { fields, rank and rank + 1 or 0 }
end

local function split(list)
  local parts = {}
  for part in string.gmatch(list, '[^,]+') do
    table.insert(parts, part)
  end
  return parts
end

-- The jobs of a persona's versions in the order in which they went live; the last is live now.
local function lived(versions)
  local jobs = split(redis.call('HGET', versions, 'lived') or '')
  local live = redis.call('HGET', versions, 'live')
  local told = #jobs == 0 and live and redis.call('HGET', versions, 'version:' .. live)
  return told and { cjson.decode(told).job_id } or jobs
end

-- Makes a version live; `jobs` is that order with it.
local function speak(versions, version, jobs)
  local first = math.max(1, #jobs - LIVED_KEPT + 1)
  redis.call('HSET', versions, 'live', version, 'lived', table.concat(jobs, ',', first))
end
