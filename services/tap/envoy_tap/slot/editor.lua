-- What the parts of redaction share: editor, patterns, json_text, framed and redaction are one after the other in the script, and
-- core/redaction has the same parts in Python.
local MASK = "[redacted]"
local find, sub, match, lower, byte = string.find, string.sub, string.match, string.lower, string.byte

-- Whether what takes a secret's place is as long as it is.
local keeps_length = false

-- What is done for one body, or for the headers of one message, in steps of 0.03 to 0.15 µs. Envoy's worker serves nobody
-- meanwhile, so what would take more is not shown.
local MOST_STEPS, BYTES_A_STEP = 400000, 24
local TOO_MUCH = "[redacted: there is too much in this body to be looked into]"
local left = 0

local function take(steps)
  left = left - steps
  if left < 0 then error(TOO_MUCH, 0) end
end

-- The steps of going through `text` once.
local function pass(text) take(#text / BYTES_A_STEP + 1) end

-- The bytes that a class of a pattern has.
local function bytes_of(class)
  local set = {}
  for code = 0, 255 do set[code] = find(string.char(code), class) ~= nil end
  return set
end

-- Where the first of `set` is from `at` on, or nil. LuaJIT compiles this, and no search for a pattern: it is ten times as fast.
local function first_of(set, text, at)
  for place = at, #text do
    if set[byte(text, place)] then return place end
  end
  return nil
end

local function mask(width)
  if not keeps_length then return MASK end
  return width < #MASK and string.rep("*", width) or MASK .. string.rep("*", width - #MASK)
end

-- Whether these two bytes are in `text`, next to each other; a search for a text is slow where its first byte is everywhere.
local function has(text, one, other)
  for place = 1, #text do
    if byte(text, place) == one and byte(text, place + 1) == other then return true end
  end
  return false
end

-- Collects `text` with pieces of it replaced; pieces come in their order.
local function editor(text)
  local out, copied = {}, 1
  local function replace(first, last, with)
    take(3)
    out[#out + 1] = sub(text, copied, first - 1)
    out[#out + 1] = with
    copied = last + 1
  end
  return {
    replace = replace,
    hide = function(first, last) replace(first, last, mask(last - first + 1)) end,
    done = function()
      if copied == 1 then return text end
      out[#out + 1] = sub(text, copied)
      return table.concat(out)
    end,
  }
end
