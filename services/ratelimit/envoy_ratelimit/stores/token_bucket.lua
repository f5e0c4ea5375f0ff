-- Decides a batch of takes on token buckets, on this server's clock. The arithmetic is that of core/token_bucket.py.
--
-- KEYS[i]  the bucket of take i
-- ARGV[1]  48 bytes a take, six little-endian doubles, all whole numbers below 2^53:
--            flags       1: its refusal refuses the request; 2: gives back; 4: can never pass; 8: ends its request
--            cost, fraction           how far the cost moves the TAT: microseconds, and 1/scale microseconds
--            scale                    how many fractions a microsecond has
--            span, span fraction      from empty to full
-- returns  {now, then for each take: allowed (1 or 0), TAT, TAT's fraction}, now and TAT in microseconds
--
-- A bucket is one value, its TAT: "microseconds" or "microseconds:fraction". It expires when the bucket is full.

local ENFORCED, GIVES_BACK, NEVER, LAST = 1, 2, 4, 8
local MGET_AT_ONCE = 1000 -- unpack() puts its results on Lua's stack, which holds some 8000
local takes = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- TATs are held in two tables by key: several takes of a batch may share a bucket.
local whole, fraction = {}, {}
for from = 1, #KEYS, MGET_AT_ONCE do
  local to = math.min(from + MGET_AT_ONCE - 1, #KEYS)
  local values = redis.call('MGET', unpack(KEYS, from, to))
  for i = from, to do
    local key, value = KEYS[i], values[i - from + 1]
    if whole[key] == nil then
      local tat, rest = tonumber(value or 0), 0
      if not tat then
        local left, right = string.match(value, '^(%d+):(%d+)$')
        tat, rest = tonumber(left or 0), tonumber(right or 0)
      elseif tat ~= tat then
        tat = 0 -- somebody wrote "nan"
      end
      whole[key], fraction[key] = tat, rest
    end
  end
end

local reply = {now}
local dirty, written = {}, {}
local before, rest_before = {}, {}
local first, refused = 1, false

for i = 1, #KEYS do
  local key = KEYS[i]
  local flags, cost, cost_fraction, scale, span, span_fraction =
    struct.unpack('<dddddd', takes, (i - 1) * 48 + 1)
  local tat, rest = whole[key], fraction[key]
  local latest = now + span

  if tat < now then -- full again meanwhile
    tat, rest = now, 0
  elseif tat > latest or (tat == latest and rest > span_fraction) then
    -- Beyond empty: the clock went back. Kept, so that the bucket fills from now on.
    tat, rest = latest, span_fraction
    whole[key], fraction[key] = tat, rest
    if not dirty[key] then
      dirty[key] = true
      written[#written + 1] = key
    end
  end
  before[i], rest_before[i] = whole[key], fraction[key]

  local after, after_rest
  if bit.band(flags, GIVES_BACK) ~= 0 then
    after, after_rest = tat - cost, rest - cost_fraction
    if after_rest < 0 then
      after, after_rest = after - 1, after_rest + scale
    end
    if after < now then
      after, after_rest = now, 0
    end
  else
    after, after_rest = tat + cost, rest + cost_fraction
    if after_rest >= scale then
      after, after_rest = after + 1, after_rest - scale
    end
  end

  local allowed = bit.band(flags, NEVER) == 0
    and (after < latest or (after == latest and after_rest <= span_fraction))
  if allowed then
    whole[key], fraction[key] = after, after_rest
    tat, rest = after, after_rest
  elseif bit.band(flags, ENFORCED) ~= 0 then
    refused = true
  end
  local at = 3 * i - 1
  reply[at], reply[at + 1], reply[at + 2] = allowed and 1 or 0, tat, rest

  if bit.band(flags, LAST) ~= 0 then
    if refused then
      -- All or nothing: put back what this request took, the latest first, and answer with what is.
      for k = i, first, -1 do
        whole[KEYS[k]], fraction[KEYS[k]] = before[k], rest_before[k]
      end
      for k = first, i do
        reply[3 * k], reply[3 * k + 1] = whole[KEYS[k]], fraction[KEYS[k]]
      end
    else
      for k = first, i do
        local name = KEYS[k]
        if reply[3 * k - 1] == 1 and not dirty[name] then
          dirty[name] = true
          written[#written + 1] = name
        end
      end
    end
    first, refused = i + 1, false
  end
end

for _, key in ipairs(written) do
  local tat, rest = whole[key], fraction[key]
  if tat > now or rest > 0 then
    local value = rest == 0 and string.format('%.0f', tat) or string.format('%.0f:%.0f', tat, rest)
    redis.call('SET', key, value, 'PX', math.floor((tat - now) / 1000) + 1)
  else
    redis.call('DEL', key)
  end
end

return reply
