-- Keeps what has become of a session: its document if it is further on than what is there, and a replica's counters.
-- KEYS: the session, its summaries, its payloads.
-- ARGV: how far on it is (0 waits, 1 active, 2 ended), the document, unix seconds until which to keep it, the name of the
-- replica's counters, the counters. Returns -1 without such a session, else whether the document is news.
local rank = redis.call('HGET', KEYS[1], 'rank')
if rank == false then return -1 end
redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
if tonumber(ARGV[1]) <= tonumber(rank) then return 0 end
redis.call('HSET', KEYS[1], 'rank', ARGV[1], 'document', ARGV[2], 'kept_until', ARGV[3])
for each = 1, 3 do redis.call('EXPIREAT', KEYS[each], ARGV[3]) end
return 1
