-- Secrets that are known by their form, wherever they stand.
local CARD_LEAST, CARD_MOST, CUT_LEAST, LOCAL_PART = 13, 19, 6, 64

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

-- Tables for gsub: `of` by name, whatever else is asked for `rest`.
local function all_else(rest, of) return setmetatable(of or {}, {__index = function() return rest end}) end

-- How clients write what is no letter or digit, though it ends with one: bytes of the same number stand for it while cards
-- are looked for, 1 for what may stand between digits, and 2 for anything else.
local ENCODED = all_else("\2\2\2", {["%20"] = "\1\1\1", ["%2b"] = "\1\1\1", ["%2B"] = "\1\1\1", ["%2d"] = "\1\1\1", ["%2D"] = "\1\1\1"})
local SIX = "\1\1\1\1\1\1"
local UNITS = all_else("\2\2\2\2\2\2", {
  ["\\u0020"] = SIX, ["\\u002b"] = SIX, ["\\u002B"] = SIX, ["\\u002d"] = SIX, ["\\u002D"] = SIX, ["\\u00a0"] = SIX, ["\\u00A0"] = SIX,
})

local function without_escapes(text)
  if not find(text, "[%%\\\194]") then return text end
  text = string.gsub(string.gsub(text, "\194\160", "\1\1"), "%%[Cc]2%%[Aa]0", SIX)
  text = string.gsub(string.gsub(text, "%%%x%x", ENCODED), "\\u%x%x%x%x", UNITS)
  return (string.gsub(text, "\\[bfnrt]", "\2\2"))
end

-- Where `text`, which is cut, ends without what may stand between digits, or the beginning of it.
local function cut_end(text)
  local tail = sub(text, -6)
  local first = find(tail, "\\u?%x?%x?%x?$") or find(tail, "%%%x?$") or find(tail, "\1+$") or find(tail, "[ +%-\194]$")
  return #text - (first and #tail - first + 1 or 0)
end

-- Digits in groups, with one space, plus or hyphen between two; a letter or digit beside them makes them something else.
local function cards(text, cut)
  local edit, at = editor(text), 1
  text = without_escapes(text)
  local size = cut and cut_end(text)
  while true do
    local first, last = find(text, "%d+", at)
    if not first then return edit.done() end
    local groups = {{first, last}}
    while true do
      local between, after_last = match(text, "^[ +%-]()%d+()", last + 1)
      if not between then between, after_last = match(text, "^\1+()%d+()", last + 1) end
      if not between then break end
      groups[#groups + 1], last = {between, after_last - 1}, after_last - 1
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
        local is_cut = stop == size and ends[k][2] >= CUT_LEAST
        local ends_alone = not find(text, "^[%w_]", stop + 1)
        if is_cut or (ends_alone and is_card(sub(digits, 1, ends[k][2]))) then
          found = ends[k][1]
          edit.hide(groups[i][1], stop)
          break
        end
      end
      i = (found or i) + 1
    end
    at = last + 1
  end
end

-- Bytes of local parts.
local LOCAL = {}
for code = 0, 127 do LOCAL[code] = find(string.char(code), "[%w%._%+%%%-]") ~= nil end

-- The local part that `before` ends with; JSON's escapes are read, and not cut in two.
local function local_part(before)
  local start = #before + 1
  while true do
    local stop = start
    -- Backwards: a pattern with an end only is tried at each place before it.
    while start > 1 and LOCAL[byte(before, start - 1)] do start = start - 1 end
    if start == stop then break end
    if sub(before, start - 1, start - 1) ~= "\\" or (start > 2 and sub(before, start - 2, start - 2) == "\\") then break end
    local digits = match(before, "^u(%x%x%x%x)", start)
    if not digits then
      start = start + 1
      break
    end
    if not LOCAL[tonumber(digits, 16)] then
      start = start + 5
      break
    end
    start = start - 1
  end
  return sub(before, start)
end

local function users(text, cut)
  local edit, at = editor(text), 1
  while true do
    local _, scheme = find(text, ":\\?/\\?/", at)
    if not scheme then return edit.done() end
    local _, stop = find(text, "^[^%s/?#\"<>]*", scheme + 1)
    local user = match(sub(text, scheme + 1, stop), "^(.*)@")
    -- A password without the @ that the cut took off looks like a port.
    if not user and cut and stop == #text and find(text, ":", scheme + 1, true) then user = sub(text, scheme + 1) end
    if user and user ~= "" then edit.hide(scheme + 1, scheme + #user) end
    at = stop + 1
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
      local before = local_part(sub(text, math.max(free, sign - LOCAL_PART), sign - 1))
      local _, stop = find(text, "^[%w%-%.]+", sign + width)
      at = sign + width
      if before ~= "" and stop then
        local is_cut = cut and stop == #text
        while not is_cut and find(sub(text, stop, stop), "[%.%-]") do stop = stop - 1 end
        if is_cut or find(sub(text, sign + width, stop), "^[^%.]+%..") then
          edit.hide(sign - #before, stop)
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
    if find(sub(text, first, last), ".", 1, true) or (cut and last == #text) then edit.hide(first, last) end
    at = last + 1
  end
end

local function patterns(text, rule, cut)
  if rule.jwt then text = jwts(text, cut) end
  if rule.userinfo and (cut or find(text, "@", 1, true)) then text = users(text, cut) end
  if rule.email then text = emails(text, cut) end
  if rule.card then text = cards(text, cut) end
  return text
end
