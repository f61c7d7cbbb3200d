-- Holds a claim for another while, unless it was lost.
-- KEYS: the call. ARGV: the claim, how long it holds from now on.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
