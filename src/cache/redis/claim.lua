-- Claims a call, or tells what is known of it.
-- KEYS: the call. ARGV: the claim (`claimed TOKEN FINGERPRINT`), how long it holds.
-- Returns what was there before; nothing: the call is claimed.

local present = redis.call('GET', KEYS[1])
if not present then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return present
