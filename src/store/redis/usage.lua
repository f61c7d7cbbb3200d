-- Adds usage of one day, once for each batch.
--
-- KEYS: one that remembers the batch; the set of the day's names of keys; for each row the hash of its key.
-- ARGV: batch memory in ms, ms to keep usage; for each row the name of its key, and how many counts follow: field and number.

if not redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then
  return 0
end
local at = 3
for index = 3, #KEYS do
  redis.call('SADD', KEYS[2], ARGV[at])
  local counts = tonumber(ARGV[at + 1])
  for count = 1, counts do
    redis.call('HINCRBY', KEYS[index], ARGV[at + count * 2], ARGV[at + count * 2 + 1])
  end
  redis.call('PEXPIRE', KEYS[index], ARGV[2])
  at = at + 2 + counts * 2
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
