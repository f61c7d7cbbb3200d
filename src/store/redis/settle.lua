-- Ends a reservation: takes what was used in place of what was held. Whoever is neither held nor late was settled before.
--
-- ARGV: its name, clock, nothing, id of the reservation; for each limit its kind, capacity, refill or period, amount, and what was
-- used.

local now = clock(ARGV[2])
for _, limit in ipairs(read_limits(5)) do
  local member = ARGV[4] .. ':' .. limit.text
  local held = redis.call('ZREM', limit.held, member) == 1
  if held or redis.call('ZREM', limit.late, member) == 1 then
    local amount = held and limit.amount or 0
    if limit.kind == 'tokens' then
      add_tokens(limit, amount - limit.used, now)
    elseif limit.kind == 'budget' then
      read_budget(limit, now)
      limit.reserved = limit.reserved - amount
      limit.spent = limit.spent + limit.used
      write_budget(limit, now)
    end
  end
end
return 1
