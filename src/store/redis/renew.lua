-- Begins the lease of a reservation anew. What is late is taken up again; what was settled is not.
--
-- ARGV: its name, clock, lease in ms, id of the reservation; for each limit its kind, capacity, refill or period, and amount.

local now = clock(ARGV[2])
local lease = tonumber(ARGV[3])
for _, limit in ipairs(read_limits(4)) do
  local member = ARGV[4] .. ':' .. limit.text
  local held = redis.call('ZSCORE', limit.held, member)
  if not held and redis.call('ZREM', limit.late, member) == 1 then
    if limit.kind == 'tokens' then
      add_tokens(limit, -limit.amount, now)
    elseif limit.kind == 'budget' then
      read_budget(limit, now)
      limit.reserved = limit.reserved + limit.amount
      write_budget(limit, now)
    end
    held = true
  end
  if held then
    add_hold(limit, member, now + lease)
    keep_holds(limit, lease)
  end
end
return 1
