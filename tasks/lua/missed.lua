-- The jobs that ended after a cursor and whose end the stream has since lost, oldest first, as records.
-- KEYS events, ends · ARGV the cursor's milliseconds, its count, how many
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not first then
  return {}
end
local function position(entry)
  local milliseconds, count = string.match(entry, '(%d+)-(%d+)')
  return tonumber(milliseconds), tonumber(count)
end
local function before(one, count, other, other_count)
  return one < other or (one == other and count < other_count)
end
local after, after_count = tonumber(ARGV[1]), tonumber(ARGV[2])
local oldest, oldest_count = position(first[1])
local missed = {}
for _, record in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[1], whole(oldest))) do
  local entry = redis.call('HGET', record, 'ended')
  if entry and #missed < tonumber(ARGV[3]) then
    local ended, count = position(entry)
    if before(after, after_count, ended, count) and before(ended, count, oldest, oldest_count) then
      table.insert(missed, redis.call('HGETALL', record))
    end
  end
end
return missed
