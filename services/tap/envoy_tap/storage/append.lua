-- Appends exchanges to a session, all that its limits leave room for; returns the number of each, 0 for one too many.
-- KEYS: the session, its summaries (a stream whose ids are the numbers), its payloads (by number).
-- ARGV: limits (exchanges, bytes), then for each exchange its content's bytes, uid, summary and payload.
if redis.call('HGET', KEYS[1], 'key') == false then return false end
local numbers = {}
for at = 3, #ARGV, 4 do
  local has = redis.call('HMGET', KEYS[1], 'captured', 'bytes')
  if tonumber(has[1] or 0) >= tonumber(ARGV[1]) or tonumber(has[2] or 0) + tonumber(ARGV[at]) > tonumber(ARGV[2]) then
    numbers[#numbers + 1] = 0
  else
    redis.call('HINCRBY', KEYS[1], 'bytes', ARGV[at])
    redis.call('HINCRBY', KEYS[1], 'stored', #ARGV[at + 2] + #ARGV[at + 3])
    local seq = redis.call('HINCRBY', KEYS[1], 'captured', 1)
    redis.call('XADD', KEYS[2], seq .. '-0', 'u', ARGV[at + 1], 's', ARGV[at + 2])
    redis.call('HSET', KEYS[3], seq, ARGV[at + 1] .. ARGV[at + 3])
    numbers[#numbers + 1] = seq
  end
end
local ends_at = redis.call('HGET', KEYS[1], 'kept_until')
for each = 1, 3 do redis.call('EXPIREAT', KEYS[each], ends_at) end
return numbers
