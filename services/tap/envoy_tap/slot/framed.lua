-- Secrets in gRPC bodies: what takes their place is as long as they are, so that lengths in the body stay true.
local FLAGS = {[0] = true, [1] = true, [128] = true, [129] = true}
local PREFIX, MOST_SIZE, MOST_DEPTH, VARINT_BYTES, MOST_NUMBER = 5, 4294967295, 12, 10, 536870911
local FIXED_BYTES = {[1] = 8, [5] = 4}
-- `a=b`; a message can have a great many fields that are shorter.
local LEAST_SECRET = 3

-- A number and where the next begins, which is beyond `told` for one that is cut; or nil.
local function varint_at(text, at, last, told)
  local value, scale = 0, 1
  for place = at, math.min(at + VARINT_BYTES - 1, last) do
    local low = byte(text, place)
    if low < 128 then return value + low * scale, place + 1 end
    value, scale = value + (low - 128) * scale, scale * 128
  end
  if last < told and last - at + 1 < VARINT_BYTES then return 0, told + 1 end
  return nil
end

-- Where the fields with a length are, each with those in it, if it may be a message, and whether it is cut off; nil if these
-- bytes are none. A message that is cut ends before `told`, as may the last of its fields.
local function fields(text, at, last, told, depth)
  local found, groups = {}, {}
  while at <= last do
    take(2)
    local tag, after = varint_at(text, at, last, told)
    if not tag then return nil end
    at = after
    if at > last + 1 then break end
    if tag < 8 or tag >= (MOST_NUMBER + 1) * 8 then return nil end
    local wire = tag % 8
    if wire == 0 then
      tag, at = varint_at(text, at, last, told)
      if not tag then return nil end
    elseif wire == 2 then
      take(4)
      local size
      size, at = varint_at(text, at, last, told)
      if not size then return nil end
      if at > last + 1 then break end
      if size > told - at + 1 then return nil end
      local stop = at + size - 1
      local there = math.min(stop, last)
      found[#found + 1] = {at, there, depth > 0 and fields(text, at, there, stop, depth - 1) or nil, there < stop}
      at = stop + 1
    elseif FIXED_BYTES[wire] then
      at = at + FIXED_BYTES[wire]
    elseif wire == 3 then
      groups[#groups + 1] = tag - wire
    elseif wire == 4 and #groups > 0 and groups[#groups] == tag - wire then
      groups[#groups] = nil
    else
      return nil
    end
  end
  return at <= told + 1 and (last < told or #groups == 0) and found or nil
end

-- What may be a text or a message is both: when its fields are hidden, `everywhere` looks over all of it. In one that is cut,
-- `hide` does: nobody reads its fields, and almost any bytes may be the beginning of a message.
local function without(data, field, hide, everywhere)
  local at, last, inner, is_cut = field[1], field[2], field[3], field[4]
  take(4)
  if last - at + 1 < LEAST_SECRET then return sub(data, at, last) end
  if not inner then return hide(sub(data, at, last), is_cut) end
  local whole = is_cut and hide or everywhere
  if #inner == 0 then return whole(sub(data, at, last), is_cut) end
  take(4)
  local out = {}
  for _, each in ipairs(inner) do
    out[#out + 1] = sub(data, at, each[1] - 1)
    out[#out + 1] = without(data, each, hide, everywhere)
    at = each[2] + 1
  end
  out[#out + 1] = sub(data, at, last)
  return whole(table.concat(out), is_cut)
end

-- A protobuf message (of any other format, the bytes) whose texts are hidden.
local function message_without(data, hide, everywhere, cut, missing)
  return without(data, {1, #data, fields(data, 1, #data, #data + missing, MOST_DEPTH), cut}, hide, everywhere)
end

-- `body` with its messages edited, and their sizes told anew; compressed ones are left as they are. Told of each are whether
-- it is cut off, and how much of it is known to be missing.
local function messages(body, edited, cut)
  local out, at = {}, 1
  while at + PREFIX - 1 <= #body and FLAGS[byte(body, at)] do
    take(10)
    local flags, a, b, c, d = byte(body, at, at + PREFIX - 1)
    local size = ((a * 256 + b) * 256 + c) * 256 + d
    at = at + PREFIX
    local data = sub(body, at, at + size - 1)
    at = at + #data
    if flags % 2 == 0 then
      local missing = size - #data
      local new = edited(data, missing > 0, missing)
      size = math.min(missing + #new, MOST_SIZE)
      data = new
    end
    out[#out + 1] = string.char(
      flags, math.floor(size / 16777216) % 256, math.floor(size / 65536) % 256, math.floor(size / 256) % 256, size % 256
    )
    out[#out + 1] = data
  end
  out[#out + 1] = edited(sub(body, at), cut, 0)
  return table.concat(out)
end
