-- Decides a batch of takes on this server's clock. The arithmetic is that of core/{token_bucket,fixed_window,sliding_window}.py.
--
-- KEYS[i]  the bucket of take i
-- ARGV[1]  48 bytes a take, six little-endian doubles, all whole numbers below 2^53: flags (see `decode`), and
--   token bucket  move and its fraction (how far the cost moves the TAT: microseconds, and 1/scale microseconds),
--                 scale, span and its fraction (from empty to full)
--   windows       cost, limit, period in microseconds, 0, 0
-- returns  {now, for each take: allowed (1 or 0), x, y, and after all of them z of each sliding window, in order}
--
-- A bucket is up to three numbers x, y, z, joined by ":", and expires when it is as new:
--   token bucket    TAT and its fraction (left out if 0)
--   fixed window    start in microseconds, used
--   sliding window  start in microseconds, used, used in the window before

local MGET_AT_ONCE = 1000 -- unpack() puts its results on Lua's stack, which holds some 8000
local MAX_DEBT = 2 * 100 * 365 * 86400 * 1000000 -- token_bucket.MAX_DEBT_US
local MAX_USED = 4503599627370495 -- window_state.MAX_USED
local HALF = 67108864 -- 2^26
local floor = math.floor

local takes = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local stored = {}
for from = 1, #KEYS, MGET_AT_ONCE do
  local to = math.min(from + MGET_AT_ONCE - 1, #KEYS)
  local values = redis.call('MGET', unpack(KEYS, from, to))
  for i = from, to do
    stored[KEYS[i]] = values[i - from + 1]
  end
end

-- Several takes of a batch may share a bucket, so what they make of it is held here by key.
local xs, ys, zs = {}, {}, {}

local modes = {}
local function decode(flags)
  local function has(flag) return bit.band(flags, flag) ~= 0 end
  local mode = {
    enforced = has(1), -- its refusal refuses the request
    gives_back = has(2),
    never = has(4), -- can't pass
    last = has(8), -- ends its request
    quota = has(16), -- the refusal of all such refuses the request
    kept = has(32), -- stays charged if the request is refused
    debt = has(64), -- charged even if refused
    fixed = has(128),
    sliding = has(256),
    window = has(128) or has(256),
    charges = not has(512) -- not a peek
  }
  modes[flags] = mode
  return mode
end

local function read(key, mode)
  local value = stored[key]
  local x, y, z = 0, 0, 0
  if value then
    x = not mode.window and tonumber(value)
    if not x or x ~= x then -- x ~= x: somebody wrote "nan"
      local left, middle, right = string.match(value, '^(%d+):(%d+):?(%d*)$')
      x, y, z = tonumber(left or 0), tonumber(middle or 0), tonumber(right or 0) or 0
      if mode.window then
        y, z = math.min(y, MAX_USED), math.min(z, MAX_USED)
      end
    end
  end
  xs[key], ys[key], zs[key] = x, y, z
  return x, y, z
end

local keep = {} -- by key: the mode and the period of what is to be written
local written = {}
local function write_later(key, mode, period)
  if not keep[key] then
    keep[key] = {mode, period}
    written[#written + 1] = key
  end
end

-- The product of two whole numbers below 2^52, as high * 2^52 + low.
local function product(a, b)
  local a0, b0 = a % HALF, b % HALF
  local a1, b1 = (a - a0) / HALF, (b - b0) / HALF
  local low = a0 * b0
  local carried = floor(low / HALF)
  local middle = a1 * b0 + a0 * b1 + carried
  local high = floor(middle / HALF)
  return a1 * b1 + high, (middle - high * HALF) * HALF + low - carried * HALF
end

-- Whether a window has room for a count: used, and previous in the part of the period that reaches back that far.
local function fits(count, previous, limit, period, elapsed)
  if count > limit then
    return false
  end
  if previous == 0 then
    return true
  end
  local needed_high, needed_low = product(previous, period - elapsed)
  local high, low = product(limit - count, period)
  return needed_high < high or (needed_high == high and needed_low <= low)
end

-- Return allowed, and x, y, z after the take.
local function take_window(key, mode, x, y, z, cost, limit, period)
  local start = now - math.fmod(now, period)
  if x > start then -- the clock went back: kept as this window's
    xs[key] = start
    write_later(key, mode, period)
  elseif x < start then
    z = mode.sliding and x == start - period and y or 0
    y = 0
  end
  if mode.never then
    return false, start, y, z
  end
  if mode.gives_back then
    local left = y - cost
    return true, start, math.max(left, 0), math.max(z + math.min(left, 0), 0)
  end
  local after = math.min(y + cost, MAX_USED)
  if fits(after, z, limit, period, now - start) then
    return true, start, after, z
  end
  return false, start, mode.debt and after or y, z
end

-- Return allowed, and x, y after the take.
local function take_token_bucket(key, mode, x, y, move, part, scale, span, span_part)
  local latest = now + span
  local most, most_part = latest, span_part
  if mode.debt then
    most, most_part = now + MAX_DEBT, 0
  end
  if x < now then -- full again meanwhile
    x, y = now, 0
  elseif x > most or (x == most and y > most_part) then
    -- Beyond the ceiling: the clock went back. Kept, so that the bucket fills from now on.
    x, y = most, most_part
    xs[key], ys[key] = x, y
    write_later(key, mode)
  end
  if mode.never then
    return false, x, y
  end
  if mode.gives_back then
    local after, after_part = x - move, y - part
    if after_part < 0 then
      after, after_part = after - 1, after_part + scale
    end
    if after < now then
      after, after_part = now, 0
    end
    return true, after, after_part
  end
  local after, after_part = x + move, y + part
  if after_part >= scale then
    after, after_part = after + 1, after_part - scale
  end
  if after < latest or (after == latest and after_part <= span_part) then
    return true, after, after_part
  end
  if not mode.debt then
    return false, x, y
  end
  if after >= most then
    after, after_part = most, most_part
  end
  return false, after, after_part
end

local reply = {now}
local mode_of, period_of = {}, {}
local before_x, before_y, before_z = {}, {}, {}
local first, refused, quotas, quotas_over = 1, false, 0, 0

for i = 1, #KEYS do
  local key = KEYS[i]
  local flags, a, b, c, d, e = struct.unpack('<dddddd', takes, (i - 1) * 48 + 1)
  local mode = modes[flags] or decode(flags)
  local x, y, z = xs[key], ys[key], zs[key]
  if x == nil then
    x, y, z = read(key, mode)
  end
  local allowed, to_x, to_y, to_z
  if mode.window then
    allowed, to_x, to_y, to_z = take_window(key, mode, x, y, z, a, b, c)
    period_of[i] = c
  else
    allowed, to_x, to_y = take_token_bucket(key, mode, x, y, a, b, c, d, e)
    to_z = 0
  end
  mode_of[i] = mode
  before_x[i], before_y[i], before_z[i] = xs[key], ys[key], zs[key]
  xs[key], ys[key], zs[key] = to_x, to_y, to_z
  local at = 3 * i - 1
  reply[at], reply[at + 1], reply[at + 2] = allowed and 1 or 0, to_x, to_y
  if mode.sliding then
    period_of[-i] = to_z
  end
  if mode.quota then
    quotas = quotas + 1
    quotas_over = quotas_over + (allowed and 0 or 1)
  elseif not allowed and mode.enforced then
    refused = true
  end

  if mode.last then
    if refused or (quotas > 0 and quotas == quotas_over) then
      -- All or nothing: put back what this request took, the latest first, and answer with what is.
      for k = i, first, -1 do
        local name = KEYS[k]
        if not mode_of[k].kept then
          xs[name], ys[name], zs[name] = before_x[k], before_y[k], before_z[k]
        end
      end
      for k = first, i do
        local name = KEYS[k]
        reply[3 * k], reply[3 * k + 1] = xs[name], ys[name]
        if mode_of[k].sliding then
          period_of[-k] = zs[name]
        end
        if mode_of[k].kept and mode_of[k].charges then
          write_later(name, mode_of[k], period_of[k])
        end
      end
    else
      for k = first, i do
        local mode_k = mode_of[k]
        if mode_k.charges and (reply[3 * k - 1] == 1 or mode_k.debt) then
          write_later(KEYS[k], mode_k, period_of[k])
        end
      end
    end
    first, refused, quotas, quotas_over = i + 1, false, 0, 0
  end
end

local after_all = 3 * #KEYS + 1
for i = 1, #KEYS do
  if mode_of[i].sliding then
    after_all = after_all + 1
    reply[after_all] = period_of[-i]
  end
end

for _, key in ipairs(written) do
  local mode, period = keep[key][1], keep[key][2]
  local x, y, z = xs[key], ys[key], zs[key]
  local due, value = x, nil
  if mode.sliding then
    if y > 0 or z > 0 then
      due, value = x + 2 * period, string.format('%.0f:%.0f:%.0f', x, y, z)
    end
  elseif mode.fixed then
    if y > 0 then
      due, value = x + period, string.format('%.0f:%.0f', x, y)
    end
  elseif y > 0 then
    value = string.format('%.0f:%.0f', x, y)
  elseif x > now then
    value = string.format('%.0f', x)
  end
  if value then
    redis.call('SET', key, value, 'PX', floor((due - now) / 1000) + 1)
  elseif stored[key] then
    redis.call('DEL', key)
  end
end

return reply
