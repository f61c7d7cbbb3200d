-- Gives back what a call took that was refused elsewhere.
--
-- ARGV: its name, clock, nothing, id of the reservation; for each limit its kind, capacity, refill or period, and amount.

local now = clock(ARGV[2])
for _, limit in ipairs(read_limits(4)) do
  if limit.kind == 'requests' then
    add_tokens(limit, limit.amount, now)
  elseif redis.call('ZREM', limit.held, ARGV[4] .. ':' .. limit.text) == 1 then
    if limit.kind == 'tokens' then
      add_tokens(limit, limit.amount, now)
    elseif limit.kind == 'budget' then
      read_budget(limit, now)
      limit.reserved = limit.reserved - limit.amount
      write_budget(limit, now)
    end
  end
end
return 1
