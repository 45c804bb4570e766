-- What every transition shares; store.py puts it in front of each script. KEYS[1] is always the event stream.
local EVENTS_KEPT = 100000
local ENDS_KEPT = 30 * 86400 * 1000 -- milliseconds
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

-- A record's end: in no queue any more, its payload kept, one last event, which `missed` finds when the stream is
-- trimmed before a door has read it. The event also tells how far the job had come.
local function close(record, state, kind, payload)
  local r = redis.call('HMGET', record, 'waiting', 'running', 'keep')
  redis.call('ZREM', r[1], record)
  redis.call('ZREM', r[2], record)
  redis.call('HSET', record, 'state', state, unpack(payload or {}))
  redis.call('HDEL', record, 'reaped')
  local told = { unpack(payload or {}) }
  local reached = redis.call('HGET', record, 'progress')
  if reached then
    table.insert(told, 'progress')
    table.insert(told, reached)
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

-- The way back from RUNNING: to its old place in the queue, or to an end if it was being cancelled or is poison.
local function put_back(record, crashed, limit, problem)
  local r = redis.call('HMGET', record, 'state', 'waiting', 'running', 'order')
  if r[1] == 'CANCELLING' then
    return close(record, 'CANCELLED', 'cancelled')
  end
  if crashed and redis.call('HINCRBY', record, 'crashes', 1) >= tonumber(limit) then
    return close(record, 'FAILED', 'failed', { 'problem', problem })
  end
  redis.call('ZREM', r[3], record)
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
