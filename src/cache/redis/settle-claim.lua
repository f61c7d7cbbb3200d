-- Keeps the outcome of a call, unless one is known already.
--
-- Also where the claim ran out and somebody else has it now: an outcome that is known is better than one to come, and whoever
-- waits for theirs gets ours.
-- KEYS: the call. ARGV: the outcome (`known FINGERPRINT BASE64`), how long it is kept.

local present = redis.call('GET', KEYS[1])
if present and string.sub(present, 1, 6) == 'known ' then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
