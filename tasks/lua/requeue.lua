-- The owner gives its job back: after a clean stop, or because its child crashed.
-- KEYS events, record · ARGV fence, crashed (0 or 1), crash limit, the problem to end with at the limit
local mine, state = owned(KEYS[2], ARGV[1])
if not mine or not (state == 'RUNNING' or state == 'PAUSING' or state == 'CANCELLING') then
  return 0
end
put_back(KEYS[2], ARGV[2] == '1', ARGV[3], ARGV[4])
return 1
