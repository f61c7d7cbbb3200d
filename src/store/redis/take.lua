-- Takes from all limits of a call, or from none.
--
-- ARGV: its name, clock, lease in ms, id of the reservation; for each limit its kind, capacity, refill or period, and amount.
-- Answers: 1 if the call is let in; place of the limit that refuses it; ms to wait; for each limit what remains, and ms until
-- all of it is back.

local now = clock(ARGV[2])
local lease = tonumber(ARGV[3])
local limits = read_limits(4)
local refused_by, wait = 0, -1

for index, limit in ipairs(limits) do
  limit.left = left_of(limit, now)
  if limit.left + TOLERANCE < limit.amount then
    local ms
    if limit.amount > limit.capacity then
      ms = math.huge
    elseif is_bucket(limit) then
      ms = ms_to_fill(limit.left, limit.amount, limit.rate)
    elseif limit.kind == 'concurrent' or limit.spent + limit.amount <= limit.capacity then
      ms = RETRY_MS
    else
      ms = limit.ends - now
    end
    if ms > wait then
      refused_by, wait = index, ms
    end
  end
end

local answer = { refused_by == 0 and '1' or '0', tostring(refused_by), exact(wait) }
for _, limit in ipairs(limits) do
  local left = limit.left
  if refused_by == 0 then
    left = left - limit.amount
    if is_bucket(limit) then
      write_level(limit, left, now)
    elseif limit.kind == 'budget' then
      limit.reserved = limit.reserved + limit.amount
      write_budget(limit, now)
    end
    if limit.kind ~= 'requests' then
      add_hold(limit, ARGV[4] .. ':' .. limit.text, now + lease)
      keep_holds(limit, lease)
    end
  elseif limit.kind == 'budget' then
    write_budget(limit, now)
  end
  answer[#answer + 1] = exact(left)
  answer[#answer + 1] = exact(reset_ms(limit, left, now))
end
return answer
