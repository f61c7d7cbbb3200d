-- Tells how limits stand, without taking.
--
-- ARGV: its name, clock, nothing, nothing; for each limit its kind, capacity, refill or period, and amount.
-- Answers, for each limit: what remains, ms until all of it is back, and what is reserved.

local now = clock(ARGV[2])
local answer = {}
for _, limit in ipairs(read_limits(4)) do
  local left = left_of(limit, now)
  local reserved = 0
  if limit.kind ~= 'requests' then
    for _, member in ipairs(redis.call('ZRANGE', limit.held, 0, -1)) do
      reserved = reserved + amount_of(member)
    end
  end
  answer[#answer + 1] = exact(left)
  answer[#answer + 1] = exact(reset_ms(limit, left, now))
  answer[#answer + 1] = exact(reserved)
end
return answer
