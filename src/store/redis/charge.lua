-- Takes money that a process spent while it could not reach the store, once for each id.
--
-- KEYS: those of the budget, and one that remembers the id.
-- ARGV: its name, clock, nothing, id; kind, capacity, period, nothing, nano-dollars.

local now = clock(ARGV[2])
if not redis.call('SET', KEYS[4], '1', 'NX', 'PX', exact(LATE_MS)) then
  return 0
end
local limit = read_limits(5)[1]
read_budget(limit, now)
limit.spent = limit.spent + limit.used
write_budget(limit, now)
return 1
