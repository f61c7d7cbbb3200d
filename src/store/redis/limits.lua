-- What all operations on limits share. Together they are one script (redis.ts), and the first argument names the operation: a Redis
-- that knows how to take knows how to settle.
--
-- It counts by the same steps as memory does (memory.ts, token-bucket.ts), so that both give the same answers to the last bit: keep
-- them alike.
--
-- A limit has three keys. Its state: a hash with `level` and `at` of a bucket, or `spent`, `reserved` and `ends` of a budget.
-- Its holds: a sorted set of `id:amount` by the time when the lease is over. Its late holds: those whose lease is over and that
-- were not settled, by the time when they are forgotten.

local LATE_MS = 3600000
local FOREVER_MS = 315360000000
local RETRY_MS = 1000
-- A clock that is set back a little must not find a bucket gone that is not full.
local LEAST_TTL_MS = 10000
local TOLERANCE = 1e-6

-- A test may give its own clock. Processes never do: theirs disagree.
local function clock(given)
  local now = tonumber(given)
  if now then
    return now
  end
  local time = redis.call('TIME')
  return time[1] * 1000 + time[2] / 1000
end

-- Lua writes 14 digits by itself, and cuts times and money.
local function exact(number)
  return string.format('%.17g', number)
end

local function is_bucket(limit)
  return limit.kind == 'requests' or limit.kind == 'tokens'
end

local function ms_to_fill(level, wanted, refill)
  if level >= wanted then
    return 0
  end
  return refill > 0 and (wanted - level) / refill or math.huge
end

local function level_of(limit, now)
  local stored = redis.call('HMGET', limit.state, 'level', 'at')
  if not stored[1] then
    return limit.capacity
  end
  local level = tonumber(stored[1])
  local elapsed = now - tonumber(stored[2])
  if elapsed > 0 then
    level = level + elapsed * limit.rate
  end
  return math.min(limit.capacity, level)
end

-- A full bucket needs no key, and one that will be full while nobody calls vanishes by itself.
local function write_level(limit, level, now)
  if level >= limit.capacity then
    redis.call('DEL', limit.state)
    return
  end
  redis.call('HSET', limit.state, 'level', exact(level), 'at', exact(now))
  local ttl = math.ceil(2 * ms_to_fill(level, limit.capacity, limit.rate))
  redis.call('PEXPIRE', limit.state, exact(math.max(LEAST_TTL_MS, math.min(FOREVER_MS, ttl))))
end

local function add_tokens(limit, tokens, now)
  local level = level_of(limit, now) + tokens
  write_level(limit, math.max(-limit.capacity, math.min(limit.capacity, level)), now)
end

-- A clock that is set back brings no period back.
local function read_budget(limit, now)
  local stored = redis.call('HMGET', limit.state, 'spent', 'reserved', 'ends')
  limit.spent = tonumber(stored[1]) or 0
  limit.reserved = tonumber(stored[2]) or 0
  limit.ends = tonumber(stored[3]) or 0
  if now >= limit.ends then
    limit.spent = 0
    limit.ends = (math.floor(now / limit.rate) + 1) * limit.rate
  end
end

local function write_budget(limit, now)
  redis.call('HSET', limit.state, 'spent', exact(limit.spent), 'reserved', exact(limit.reserved), 'ends', exact(limit.ends))
  local ttl = math.ceil(limit.ends - now) + LATE_MS
  redis.call('PEXPIRE', limit.state, exact(math.min(FOREVER_MS, ttl)))
end

local function add_hold(limit, member, expires)
  redis.call('ZADD', limit.held, exact(expires), member)
end

local function keep_holds(limit, lease)
  redis.call('PEXPIRE', limit.held, exact(math.ceil(lease) + LATE_MS))
end

local function amount_of(member)
  return tonumber(string.match(member, ':(.*)$'))
end

-- Ends the holds whose lease is over, and gives back what they held.
local function expire(limit, now)
  local members = redis.call('ZRANGEBYSCORE', limit.held, '-inf', exact(now))
  if #members == 0 then
    return
  end
  local returned = 0
  for _, member in ipairs(members) do
    redis.call('ZREM', limit.held, member)
    redis.call('ZADD', limit.late, exact(now + LATE_MS), member)
    returned = returned + amount_of(member)
  end
  redis.call('ZREMRANGEBYSCORE', limit.late, '-inf', exact(now))
  redis.call('PEXPIRE', limit.late, exact(LATE_MS))
  if limit.kind == 'tokens' then
    add_tokens(limit, returned, now)
  elseif limit.kind == 'budget' then
    read_budget(limit, now)
    limit.reserved = limit.reserved - returned
    write_budget(limit, now)
  end
end

-- What is left of a limit.
local function left_of(limit, now)
  if limit.kind ~= 'requests' then
    expire(limit, now)
  end
  if is_bucket(limit) then
    return level_of(limit, now)
  end
  if limit.kind == 'concurrent' then
    return limit.capacity - redis.call('ZCARD', limit.held)
  end
  read_budget(limit, now)
  return limit.capacity - limit.spent - limit.reserved
end

local function reset_ms(limit, left, now)
  if limit.kind == 'concurrent' then
    return math.huge
  end
  if limit.kind == 'budget' then
    return limit.ends - now
  end
  return ms_to_fill(left, limit.capacity, limit.rate)
end

-- The limits that an operation is called for: three keys each, and `fields` arguments from the fifth on.
local function read_limits(fields)
  local limits = {}
  for index = 1, #KEYS / 3 do
    local at = 4 + (index - 1) * fields
    limits[index] = {
      state = KEYS[index * 3 - 2],
      held = KEYS[index * 3 - 1],
      late = KEYS[index * 3],
      kind = ARGV[at + 1],
      capacity = tonumber(ARGV[at + 2]),
      rate = tonumber(ARGV[at + 3]),
      text = ARGV[at + 4],
      amount = tonumber(ARGV[at + 4]),
      used = fields > 4 and tonumber(ARGV[at + 5]) or 0,
    }
  end
  return limits
end
