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

local ESCAPES = bytes_of("[%%\\\194]")

local function without_escapes(text)
  if not first_of(ESCAPES, text, 1) then return text end
  take(1.2 * #text)
  text = string.gsub(string.gsub(text, "\194\160", "\1\1"), "%%[Cc]2%%[Aa]0", SIX)
  text = string.gsub(string.gsub(text, "%%%x%x", ENCODED), "\\u%x%x%x%x", UNITS)
  return (string.gsub(text, "\\[bfnrt]", "\2\2"))
end

-- Where `text`, which is cut, ends without what may stand between digits, or the beginning of it.
local function cut_end(text)
  local tail = sub(text, -6)
  local first = find(tail, "\\u%x?%x?%x?$") or find(tail, "\\$") or find(tail, "%%%x?$") or find(tail, "\1+$") or find(tail, "[ +%-\194]$")
  return #text - (first and #tail - first + 1 or 0)
end

local DIGIT, NO_DIGIT, ISSUER, WORD = bytes_of("%d"), bytes_of("%D"), bytes_of("[2-6]"), bytes_of("[%w_]")
-- What digits in groups can have between them, also encoded; the longest escape.
local BETWEEN, OTHER, ESCAPE_BYTES = bytes_of("[ +%-\1]"), bytes_of("[^%x %+%-%%\\u\194\160\1]"), 6

-- Where the groups of digits end that begin at `at`, and how many digits are in them.
local function groups_end(text, at)
  local last, digits, place = at, 0, at
  while true do
    local code = byte(text, place)
    if DIGIT[code] then
      last, digits = place, digits + 1
    elseif not (BETWEEN[code] and place == last + 1) and not (code == 1 and byte(text, place - 1) == 1) then
      return last, digits
    end
    place = place + 1
  end
end

-- Digits in groups, with one space, plus or hyphen between two; a letter or digit beside them makes them something else.
-- What is found from `at` on is hidden, `offset` bytes further on.
local function cards_in(text, at, edit, offset, size)
  while true do
    local first = first_of(DIGIT, text, at)
    if not first then return end
    take(0.5)
    local last, all_digits = groups_end(text, first)
    local is_last = last == size
    at = last + 1
    local from, to, count = {}, {}, 0
    while first <= last and all_digits >= (is_last and CUT_LEAST or CARD_LEAST) do
      take(4)
      count = count + 1
      from[count], to[count] = first, (first_of(NO_DIGIT, text, first) or #text + 1) - 1
      first = first_of(DIGIT, text, to[count] + 1) or #text + 1
    end
    local i = 1
    while i <= count do
      local found
      local start = from[i]
      if not WORD[byte(text, start - 1)] and (ISSUER[byte(text, start)] or (is_last and count - i < CARD_MOST)) then
        local digits, k = to[i] - start + 1, i
        while k < count and digits + to[k + 1] - from[k + 1] + 1 <= CARD_MOST do
          k = k + 1
          digits = digits + to[k] - from[k] + 1
        end
        local number
        while not found and k >= i and digits <= CARD_MOST do
          if to[k] == size and digits >= CUT_LEAST then
            found = k
          elseif digits < CARD_LEAST then
            break
          elseif not WORD[byte(text, to[k] + 1)] then
            take(3)
            number = number or string.gsub(sub(text, start, to[k]), "%D", "")
            found = is_card(sub(number, 1, digits)) and k
          end
          digits = digits - (to[k] - from[k] + 1)
          k = k - 1
        end
        if found then edit.hide(start + offset, to[found] + offset) end
      end
      i = (found or i) + 1
    end
  end
end

-- Most digits are too few for a card, whatever stands between them.
local function cards(text, cut)
  local edit, at = nil, 1
  while true do
    local first = first_of(DIGIT, text, at)
    if not first then return edit and edit.done() or text end
    take(0.5)
    at = first_of(OTHER, text, first) or #text + 1
    local is_cut, digits = cut and at > #text, 0
    for place = first, at - 1 do
      if DIGIT[byte(text, place)] then digits = digits + 1 end
    end
    if digits >= (is_cut and CUT_LEAST or CARD_LEAST) then
      take(10 + (at - first) / 8)
      local before = math.max(first - ESCAPE_BYTES, 1)
      edit = edit or editor(text)
      local piece = without_escapes(sub(text, before, at))
      cards_in(piece, first - before + 1, edit, before - 1, is_cut and cut_end(piece))
    end
  end
end

-- Bytes of local parts.
local LOCAL = bytes_of("[%w%._%+%%%-]")

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

local USER_END = bytes_of("[%s/?#\"<>]")

local function users(text, cut)
  local edit, at = editor(text), 1
  while true do
    local colon = find(text, ":", at, true)
    if not colon then return edit.done() end
    take(3)
    local _, scheme = find(text, "^\\?/\\?/", colon + 1)
    at = (scheme or colon) + 1
    if scheme then
      take(3)
      local stop = (first_of(USER_END, text, at) or #text + 1) - 1
      local last = stop
      while last > scheme and byte(text, last) ~= 64 do last = last - 1 end
      -- A password without the @ that the cut took off looks like a port.
      if last == scheme and cut and stop == #text and find(text, ":", at, true) then last = stop + 1 end
      if last > at then edit.hide(at, last - 1) end
      at = stop + 1
    end
  end
end

local NO_DOMAIN, DOMAIN_END = bytes_of("[^%w%-%.]"), bytes_of("[%.%-]")

local function emails(text, cut)
  local edit, at, free = editor(text), 1, 1
  local plain, encoded = find(text, "@", 1, true), find(text, "%40", 1, true)
  while plain or encoded do
    if plain and plain < at then
      plain = find(text, "@", at, true)
    elseif encoded and encoded < at then
      encoded = find(text, "%40", at, true)
    else
      take(3)
      local sign = math.min(plain or #text + 1, encoded or #text + 1)
      local width = sign == encoded and 3 or 1
      local before = local_part(sub(text, math.max(free, sign - LOCAL_PART), sign - 1))
      take(#before / 4)
      at = sign + width
      local stop = (first_of(NO_DOMAIN, text, at) or #text + 1) - 1
      if before ~= "" and stop >= at then
        local is_cut = cut and stop == #text
        while not is_cut and DOMAIN_END[byte(text, stop)] do stop = stop - 1 end
        if is_cut or find(sub(text, sign + width, stop), "^[^%.]+%..") then
          edit.hide(sign - #before, stop)
          at, free = stop + 1, stop + 1
        end
      end
    end
  end
  return edit.done()
end

local NO_TOKEN = bytes_of("[^%w_%-%.]")

local function jwts(text, cut)
  local edit, at = editor(text), 1
  while true do
    local first = find(text, "eyJ", at, true)
    if not first then return edit.done() end
    take(4)
    local last = (first_of(NO_TOKEN, text, first) or #text + 1) - 1
    if find(sub(text, first, last), ".", 1, true) or (cut and last == #text) then edit.hide(first, last) end
    at = last + 1
  end
end

-- What each text has that something is hidden of; of a short one, or of many, that is seen soonest.
local SUSPECT = bytes_of("[=@%%\\:J%d]")

local function patterns(text, rule, cut)
  pass(text)
  -- Most texts hold nothing of the kind, which is quickly seen.
  if rule.jwt and find(text, "eyJ", 1, true) then text = jwts(text, cut) end
  if rule.userinfo and (cut or find(text, "@", 1, true)) then text = users(text, cut) end
  if rule.email and (find(text, "@", 1, true) or has(text, 37, 52)) then text = emails(text, cut) end
  if rule.card and first_of(DIGIT, text, 1) then text = cards(text, cut) end
  return text
end
