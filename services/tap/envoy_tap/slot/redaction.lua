-- Redaction before anything leaves the proxy, as R; core/redaction does the same in Python, and a test holds both equal.
-- Every loop goes forward through its text, so that no body can hold a worker up.
local R = {}
local MASK, CARD_LEAST, CARD_MOST, CUT_LEAST = "[redacted]", 13, 19, 6
local LOCAL_PART, MAX_DEPTH = 64, 64
local find, sub, match, lower, byte = string.find, string.sub, string.match, string.lower, string.byte

-- Collects `text` with pieces of it replaced; pieces come in their order.
local function editor(text)
  local out, copied = {}, 1
  return {
    replace = function(first, last, with)
      out[#out + 1] = sub(text, copied, first - 1)
      out[#out + 1] = with
      copied = last + 1
    end,
    done = function()
      if copied == 1 then return text end
      out[#out + 1] = sub(text, copied)
      return table.concat(out)
    end,
  }
end

local function decoded(name)
  name = string.gsub(name, "%+", " ")
  name = string.gsub(name, "%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  return lower(name)
end

-- `user[password]` is a `password`.
local function known_as(names, name)
  name = decoded(name)
  if names[name] then return true end
  return #name <= 256 and names[match(name, "([^%[%]%.]+)[%[%]%.]*$") or name] or false
end

local function luhn(digits)
  local sum = 0
  for place = 1, #digits do
    local digit = byte(digits, -place) - 48
    if place % 2 == 0 then digit = digit * 2 end
    sum = sum + (digit > 9 and digit - 9 or digit)
  end
  return sum % 10 == 0
end

local function is_card(digits)
  return #digits >= CARD_LEAST and find(digits, "^[2-6]") ~= nil and luhn(digits)
end

-- Digits in groups, with one space, plus or hyphen between two; a letter or digit beside them makes them something else.
local function cards(text, cut)
  local edit, at = editor(text), 1
  while true do
    local first, last = find(text, "%d+", at)
    if not first then return edit.done() end
    local groups = {{first, last}}
    while true do
      local after_first, after_last = find(text, "^[ +%-]%d+", last + 1)
      if not after_first then break end
      groups[#groups + 1], last = {after_first + 1, after_last}, after_last
    end
    local i = 1
    while i <= #groups do
      local digits, ends, found = "", {}, nil
      local starts_alone = not find(sub(text, groups[i][1] - 1, groups[i][1] - 1), "[%w_]")
      local may_be = starts_alone and (cut or find(text, "^[2-6]", groups[i][1]))
      for j = may_be and i or #groups + 1, #groups do
        digits = digits .. sub(text, groups[j][1], groups[j][2])
        if #digits > CARD_MOST then break end
        ends[#ends + 1] = {j, #digits}
      end
      for k = #ends, 1, -1 do
        local stop = groups[ends[k][1]][2]
        local is_cut = cut and stop == #text and ends[k][2] >= CUT_LEAST
        local ends_alone = not find(text, "^[%w_]", stop + 1)
        if is_cut or (ends_alone and is_card(sub(digits, 1, ends[k][2]))) then
          found = ends[k][1]
          edit.replace(groups[i][1], stop, MASK)
          break
        end
      end
      i = (found or i) + 1
    end
    at = last + 1
  end
end

local function emails(text, cut)
  local edit, at, free = editor(text), 1, 1
  local plain, encoded = find(text, "@", 1, true), find(text, "%40", 1, true)
  while plain or encoded do
    if plain and plain < at then
      plain = find(text, "@", at, true)
    elseif encoded and encoded < at then
      encoded = find(text, "%40", at, true)
    else
      local sign = math.min(plain or #text + 1, encoded or #text + 1)
      local width = sign == encoded and 3 or 1
      local before = match(sub(text, math.max(free, sign - LOCAL_PART), sign - 1), "[%w%._%+%%%-]+$")
      local _, stop = find(text, "^[%w%-%.]+", sign + width)
      at = sign + width
      if before and stop then
        local is_cut = cut and stop == #text
        while not is_cut and find(sub(text, stop, stop), "[%.%-]") do stop = stop - 1 end
        if is_cut or find(sub(text, sign + width, stop), "^[^%.]+%..") then
          edit.replace(sign - #before, stop, MASK)
          at, free = stop + 1, stop + 1
        end
      end
    end
  end
  return edit.done()
end

local function jwts(text, cut)
  local edit, at = editor(text), 1
  while true do
    local first = find(text, "eyJ", at, true)
    if not first then return edit.done() end
    local _, last = find(text, "^[%w_%-%.]+", first)
    if find(sub(text, first, last), ".", 1, true) or (cut and last == #text) then edit.replace(first, last, MASK) end
    at = last + 1
  end
end

local function patterns(text, rule, cut)
  if rule.jwt then text = jwts(text, cut) end
  if rule.email then text = emails(text, cut) end
  if rule.card then text = cards(text, cut) end
  return text
end

-- Its beginning may be that of a query, too.
local function query(text, names)
  local edit, sign = editor(text), 0
  while sign do
    local _, stop = find(text, "^[^=&?#%s\"]+", sign + 1)
    local at = (stop or sign) + 1
    if stop and sub(text, at, at) == "=" then
      local _, last = find(text, "^[^&#%s\"<>]*", at + 1)
      if known_as(names, sub(text, sign + 1, stop)) then edit.replace(at + 1, last, MASK) end
      at = last + 1
    end
    sign = find(text, "[?&#]", at)
  end
  return edit.done()
end

local function form(text, names)
  local edit, at = editor(text), 1
  while at <= #text do
    local last = (find(text, "&", at, true) or #text + 1) - 1
    local equals = find(sub(text, at, last), "=", 1, true)
    if equals and known_as(names, sub(text, at, at + equals - 2)) then edit.replace(at + equals, last, MASK) end
    at = last + 2
  end
  return edit.done()
end

-- The blank line after a part's headers: its last byte, and how lines end there.
local function blank_line(text, at)
  local first, last = find(text, "\n\r?\n", at)
  if not first then return nil end
  return last, first > at and sub(text, first - 1, first - 1) == "\r" and "\r\n" or "\n"
end

local function part_end(text, at, line_end) return (find(text, line_end .. "--", at, true) or #text + 1) - 1 end

local function multipart(text, names)
  local edit, at = editor(text), 1
  local blank, line_end
  while true do
    local _, stop, name = find(text, "[Nn][Aa][Mm][Ee][ \t]*=[ \t]*\"?([^\"\r\n;]*)", at)
    if not stop then return edit.done() end
    at = stop + 1
    -- Looked for once, however many names stand before it.
    if not blank or blank < at then
      blank, line_end = blank_line(text, at)
      if not blank then return edit.done() end
    end
    if known_as(names, name) then
      local last = part_end(text, blank + 1, line_end)
      edit.replace(blank + 1, last, MASK)
      at = last + 1
    end
  end
end

-- The parts whose content may be JSON.
local function json_parts(text, edited)
  local edit, at = editor(text), 1
  while true do
    local blank, line_end = blank_line(text, at)
    if not blank then return edit.done() end
    at = blank + 1
    if find(text, "^[{%[]", at) then
      local last = part_end(text, at, line_end)
      edit.replace(at, last, edited(sub(text, at, last)))
      at = last + 1
    end
  end
end

local function unescaped(key)
  if not find(key, "\\", 1, true) then return key end
  key = string.gsub(key, "\\u00(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  return (string.gsub(key, "\\/", "/"))
end

-- The closing quote of the string that opens at `at`, or nil.
local function string_end(text, at)
  while true do
    at = find(text, "[\"\\]", at + 1)
    if not at or byte(text, at) == 34 then return at end
    at = at + 1
  end
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
  local edit, at, size = editor(text), 1, #text
  local stack, depth = {}, 0
  local hidden, hidden_depth
  local function hits()
    local top = stack[depth]
    if hidden or not top then return false end
    if top.kind == "{" and rule.names[lower(top.key or "")] then return true end
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
    local char, top = sub(text, at, at), stack[depth]
    if char == '"' then
      local stop = string_end(text, at)
      if not (top and top.wants_key) then return value(at, stop or size) end
      if not stop then
        at = size + 1
        return
      end
      top.key, top.wants_key = unescaped(sub(text, at + 1, stop - 1)), false
      local _, colon = find(text, "^%s*:", stop + 1)
      at = colon and colon + 1 or stop + 1
      if not colon and find(text, "%S", at) then return true end
    elseif char == "{" or char == "[" then
      if hits() then hidden, hidden_depth = at, depth end
      depth = depth + 1
      if depth > MAX_DEPTH or (top and top.wants_key) then return true end
      stack[depth] = {kind = char, wants_key = char == "{", key = char == "[" and 0 or nil}
      at = at + 1
    elseif char == "}" or char == "]" then
      if not top or (top.kind == "{") ~= (char == "}") then return true end
      depth = depth - 1
      if hidden and depth == hidden_depth then
        edit.replace(hidden, at, '"' .. MASK .. '"')
        hidden = nil
      end
      at = at + 1
    elseif char == "," then
      if not top then return true end
      if top.kind == "{" then top.wants_key, top.key = true, nil else top.key = top.key + 1 end
      at = at + 1
    else
      local _, last = find(text, "^[^%s,:%[%]{}\"]+", at)
      if not last or (top and top.wants_key) then return true end
      value(at, last)
    end
  end
  while true do
    at = find(text, "%S", at)
    if not at then break end
    if one() then
      if hidden or declared then edit.replace(hidden or at, size, hidden and '"' .. MASK .. '"' or MASK) end
      return edit.done()
    end
  end
  if hidden then edit.replace(hidden, size, '"' .. MASK .. '"') end
  return edit.done()
end

-- As core/policy.py: a path as servers tend to read it.
function R.normal(path, slashes)
  path = match(path, "^[^?#]*")
  if not slashes then path = string.gsub(string.gsub(path, "%%2[fF]", "%%252f"), "%%5[cC]", "%%252f") end
  path = string.gsub(path, "%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  path = string.gsub(string.gsub(lower(path), "\\", "/"), ";[^/]*", "")
  local segments = {}
  for segment in string.gmatch(path, "[^/]+") do
    if segment == ".." then
      segments[#segments] = nil
    elseif segment ~= "." then
      segments[#segments + 1] = segment
    end
  end
  return "/" .. table.concat(segments, "/")
end

function R.forbids(path, patterns_)
  if #patterns_ == 0 then return false end
  if not path then return true end
  local one, other = R.normal(path, true), R.normal(path, false)
  for _, pattern in ipairs(patterns_) do
    if find(one, pattern) or find(other, pattern) then return true end
  end
  return false
end

-- `name` in lower case.
function R.header(name, value, rule)
  if rule.headers[name] then return MASK end
  return patterns(query(value, rule.query), rule)
end

function R.body(text, content_type, encoding, rule, cut)
  if text == "" or (encoding ~= "" and lower(encoding) ~= "identity") then return text end
  content_type = lower(content_type)
  if find(content_type, "json", 1, true) then
    text = json(text, rule, true)
  else
    if find(content_type, "x-www-form-urlencoded", 1, true) then
      text = form(text, rule.names)
    elseif find(content_type, "multipart/", 1, true) then
      text = json_parts(multipart(text, rule.names), function(part) return json(part, rule, false) end)
    end
    -- Whatever it is declared as: `curl -d` says form of all that it sends.
    if find(text, "^%s*[{%[]") or find(text, "^\239\187\191%s*[{%[]") then text = json(text, rule, false) end
  end
  return patterns(query(text, rule.query), rule, cut)
end
