-- Secrets in JSON, hidden without changing another byte; what is cut off or broken is read as far as it goes.
local MAX_DEPTH = 64
local VISIBLE, SCALAR_END = bytes_of("%S"), bytes_of("[%s,:%[%]{}\"]")

local QUOTE, COLON, COMMA, OBJECT, OBJECT_END, ARRAY, ARRAY_END = byte('":,{}[]', 1, -1)
local ESCAPED = {['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

local function utf8(code)
  local rest = ""
  local function more()
    rest = string.char(128 + code % 64) .. rest
    code = math.floor(code / 64)
  end
  if code < 128 then return string.char(code) end
  more()
  if code < 32 then return string.char(192 + code) .. rest end
  more()
  if code < 16 then return string.char(224 + code) .. rest end
  more()
  return string.char(240 + code) .. rest
end

local function unescaped(key)
  take(1)
  if not find(key, "\\", 1, true) then return key end
  take(6)
  local edit, at = editor(key), find(key, "\\", 1, true)
  while at do
    take(6)
    local digits, last = match(key, "^u(%x%x%x%x)()", at + 1)
    if digits then
      local code = tonumber(digits, 16)
      local low = code >= 55296 and code < 56320 and match(key, "^\\u([dD][c-fC-F]%x%x)", last)
      if low then code, last = 65536 + (code - 55296) * 1024 + tonumber(low, 16) - 56320, last + 6 end
      edit.replace(at, last - 1, utf8(code))
    else
      local char = ESCAPED[sub(key, at + 1, at + 1)]
      last = at + 2
      if char then edit.replace(at, at + 1, char) end
    end
    at = find(key, "\\", last, true)
  end
  return edit.done()
end

-- The closing quote of the string that opens at `at`, or nil.
local function string_end(text, at)
  local place, size = at + 1, #text
  while place <= size do
    local code = byte(text, place)
    if code == 34 then return place end
    place = place + (code == 92 and 2 or 1)
  end
  return nil
end

local function leads(path, stack, depth)
  if #path ~= depth then return false end
  for place = 1, depth do
    local step, level = path[place], stack[place]
    if step ~= "*" and step ~= level.key then return false end
  end
  return true
end

-- `declared`: it says that it is JSON, so that what can't be read of it is not let through.
local function json(text, rule, declared)
  take(40)
  pass(text)
  local edit, at, size = editor(text), 1, #text
  local stack, depth = {}, 0
  local steps = 0.4 + #rule.paths / 8
  local hidden, hidden_depth
  local function hits()
    local top = stack[depth]
    if hidden or not top then return false end
    if top.kind == OBJECT and rule.names[lower(top.key or "")] then return true end
    for _, path in ipairs(rule.paths) do
      if leads(path, stack, depth) then return true end
    end
    return false
  end
  local function value(first, last)
    if hits() then edit.replace(first, last, '"' .. MASK .. '"') end
    at = last + 1
  end
  local function one()
    take(steps)
    local char, top = byte(text, at), stack[depth]
    if char == QUOTE then
      local stop = string_end(text, at)
      if not (top and top.wants_key) then return value(at, stop or size) end
      if not stop then
        at = size + 1
        return
      end
      top.key, top.wants_key = unescaped(sub(text, at + 1, stop - 1)), false
      local colon = first_of(VISIBLE, text, stop + 1)
      local is_colon = colon and byte(text, colon) == COLON
      at = (is_colon and colon or stop) + 1
      if colon and not is_colon then return true end
    elseif char == OBJECT or char == ARRAY then
      if hits() then hidden, hidden_depth = at, depth end
      depth = depth + 1
      if depth > MAX_DEPTH or (top and top.wants_key) then return true end
      local level = stack[depth] or {}
      level.kind, level.wants_key, level.key = char, char == OBJECT, char == ARRAY and 0 or nil
      stack[depth] = level
      at = at + 1
    elseif char == OBJECT_END or char == ARRAY_END then
      if not top or (top.kind == OBJECT) ~= (char == OBJECT_END) then return true end
      depth = depth - 1
      if hidden and depth == hidden_depth then
        edit.replace(hidden, at, '"' .. MASK .. '"')
        hidden = nil
      end
      at = at + 1
    elseif char == COMMA then
      if not top then return true end
      if top.kind == OBJECT then top.wants_key, top.key = true, nil else top.key = top.key + 1 end
      at = at + 1
    else
      if char == COLON or (top and top.wants_key) then return true end
      value(at, (first_of(SCALAR_END, text, at) or size + 1) - 1)
    end
  end
  while true do
    at = first_of(VISIBLE, text, at)
    if not at then break end
    if one() then
      if hidden or declared then edit.replace(hidden or at, size, hidden and '"' .. MASK .. '"' or MASK) end
      return edit.done()
    end
  end
  if hidden then edit.replace(hidden, size, '"' .. MASK .. '"') end
  return edit.done()
end
