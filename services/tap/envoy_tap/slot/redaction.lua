-- Redaction before anything leaves the proxy, as R; core/redaction does the same in Python, and a test holds both equal.
-- Every loop goes forward through its text and takes steps, so that no body can hold a worker up.
local R = {}
local NAME_MOST = 1024
local SIGNS, FORM_SIGNS, SEPARATOR = bytes_of("[=?&#;%%\\]"), bytes_of("[=&;]"), bytes_of("[%[%]%.]")
local NO_TEXT, BOM = bytes_of("[%z\1-\8\14-\26\28-\31]"), "\239\187\191"
local URL_HEADERS = {
  [":path"] = true, ["content-location"] = true, location = true, referer = true, ["x-envoy-original-path"] = true,
  ["x-forwarded-uri"] = true, ["x-original-uri"] = true, ["x-original-url"] = true, ["x-rewrite-url"] = true,
}

local function decoded(name)
  if not find(name, "[%%+]") then return lower(name) end
  take(#name / 2)
  name = string.gsub(name, "%+", " ")
  name = string.gsub(name, "%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  return lower(name)
end

-- `user[password]` is a `password`.
local function known_as(names, name)
  take(3 + #name / 4)
  name = decoded(name)
  if names[name] then return true end
  if #name > 256 then return false end
  local last = #name
  while SEPARATOR[byte(name, last)] do last = last - 1 end
  local first = last
  while first > 1 and not SEPARATOR[byte(name, first - 1)] do first = first - 1 end
  return names[sub(name, first, last)] or false
end

-- What stands between names and values of parameters, also in an address within another, or in JSON; HTML's &amp; ends
-- with one, too. By its bytes, or their digits.
local MARKS = {
  ["="] = "=", ["?"] = "?", ["&"] = "&", ["#"] = "#", [";"] = ";",
  ["3d"] = "=", ["3f"] = "?", ["26"] = "&", ["23"] = "#", ["3b"] = ";",
}

local VALUE_ENDS = {
  form = bytes_of("&"), url = bytes_of("[&#]"), matrix = bytes_of("[&#/?;]"), text = bytes_of("[&#%s\"<>\\]"),
}

-- Where the value ends that begins at `at`. Where a URL in a text ends, nobody says; quotes in it may be escaped.
local function value_end(text, at, within, is_matrix)
  local ends = VALUE_ENDS[within and (is_matrix and "matrix" or within) or "text"]
  while true do
    take(3)
    local first = first_of(ends, text, at) or #text + 1
    if within or byte(text, first) ~= 92 then return first - 1 end
    at = first + (find(text, "^[\"\\]", first + 1) and 2 or 1)
  end
end

-- `within`: "url" or "form", where all of the text is one.
local function query(text, names, within)
  pass(text)
  if not (find(text, "=", 1, true) or has(text, 37, 51) or (has(text, 92, 117) and has(text, 48, 51))) then return text end
  local path_end = find(text, "?", 1, true) or #text + 1
  -- Its beginning may be that of a query, too.
  local edit, start, after_semicolon, at = editor(text), 1, false, 1
  while true do
    local first = first_of(SIGNS, text, at)
    if not first then return edit.done() end
    take(2)
    local char, last = sub(text, first, first), first
    if char == "%" then
      take(4)
      char, last = lower(match(text, "^%%(%x%x)", first) or ""), first + 2
    elseif char == "\\" then
      take(4)
      char, last = lower(match(text, "^\\u00(%x%x)", first) or ""), first + 5
    end
    local mark = MARKS[char]
    if mark then
      at = last + 1
      if mark == "=" and first - start <= NAME_MOST then
        local name = sub(text, start, first - 1)
        if (within or not find(name, "[%s\"]")) and known_as(names, name) then
          local stop = value_end(text, at, within, within == "url" and after_semicolon and start <= path_end)
          edit.hide(at, stop)
          at = stop + 1
        end
      end
      start, after_semicolon = at, char == ";"
    else
      at = first + 1
    end
  end
end

local function form(text, names)
  pass(text)
  local edit, start, at = editor(text), 1, 1
  while true do
    local first = first_of(FORM_SIGNS, text, at)
    if not first then return edit.done() end
    take(2)
    at = first + 1
    if byte(text, first) == 61 then
      if first - start <= NAME_MOST and known_as(names, sub(text, start, first - 1)) then
        local last = (find(text, "&", at, true) or #text + 1) - 1
        edit.hide(at, last)
        at = last + 1
      else
        -- A value may hold more of them, but is not one's name.
        at = find(text, "[&;]", at) or #text + 1
      end
    end
    start = at
  end
end

-- The blank line after a part's headers: its last byte, and how lines end there.
local function blank_line(text, at)
  local first, last = at - 1, nil
  repeat
    take(0.5)
    first = find(text, "\n", first + 1, true)
    if not first then return nil end
    last = first + (byte(text, first + 1) == 13 and 2 or 1)
  until byte(text, last) == 10
  return last, first > at and byte(text, first - 1) == 13 and "\r\n" or "\n"
end

local function part_end(text, at, line_end) return (find(text, line_end .. "--", at, true) or #text + 1) - 1 end

local BLANK, NAME_END = bytes_of("[ \t]"), bytes_of("[\"\r\n;]")

-- The next name of a part from `at` on, after its last byte.
local function part_name(text, at)
  local sign = at - 1
  while true do
    take(1)
    sign = find(text, "=", sign + 1, true)
    if not sign then return nil end
    local last = sign - 1
    while last > at and BLANK[byte(text, last)] do last = last - 1 end
    if last - 3 >= at and lower(sub(text, last - 3, last)) == "name" then
      local first = match(text, "^[ \t]*\"?()", sign + 1)
      local stop = (first_of(NAME_END, text, first) or #text + 1) - 1
      return stop, sub(text, first, stop)
    end
  end
end

local function multipart(text, names)
  pass(text)
  local edit, at = editor(text), 1
  local blank, line_end
  while true do
    local stop, name = part_name(text, at)
    if not stop then return edit.done() end
    take(6)
    at = stop + 1
    -- Looked for once, however many names stand before it.
    if not blank or blank < at then
      blank, line_end = blank_line(text, at)
      if not blank then return edit.done() end
    end
    if known_as(names, name) then
      local last = part_end(text, blank + 1, line_end)
      edit.hide(blank + 1, last)
      at = last + 1
    end
  end
end

-- The parts whose content may be JSON.
local function json_parts(text, edited)
  local edit, at = editor(text), 1
  while true do
    take(6)
    local blank, line_end = blank_line(text, at)
    if not blank then return edit.done() end
    at = first_of(VISIBLE, text, blank + 1)
    if not at then return edit.done() end
    if find(text, "^[{%[]", at) or find(text, "^\239\187\191[{%[]", at) then
      local last = part_end(text, blank + 1, line_end)
      edit.replace(blank + 1, last, edited(sub(text, blank + 1, last)))
      at = last + 1
    end
  end
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

-- Before the headers of one message.
function R.begin() left = MOST_STEPS end

local function plain_header(name, value, rule) return patterns(query(value, rule.query, URL_HEADERS[name] and "url"), rule) end

-- `name` in lower case.
function R.header(name, value, rule)
  if rule.headers[name] then return MASK end
  local is_done, found = pcall(plain_header, name, value, rule)
  return is_done and found or MASK
end

local function plain_body(text, content_type, rule, cut)
  local within
  if find(content_type, "json", 1, true) then
    text = json(text, rule, true)
  else
    if find(content_type, "x-www-form-urlencoded", 1, true) then
      text, within = form(form(text, rule.names), rule.query), "form"
    elseif find(content_type, "multipart/", 1, true) then
      text = json_parts(multipart(text, rule.names), function(part) return json(part, rule, false) end)
    end
    -- Whatever it is declared as: `curl -d` says form of all that it sends.
    local start = first_of(VISIBLE, text, sub(text, 1, 3) == BOM and 4 or 1)
    if start and find(text, "^[{%[]", start) then
      text, within = json(text, rule, false), nil
    end
  end
  return patterns(query(text, rule.query, within), rule, cut)
end

local function grpc(text, content_type, rule, cut)
  if find(content_type, "json", 1, true) then
    return messages(text, function(data, is_cut) return plain_body(data, content_type, rule, is_cut) end, cut)
  end
  local function hide(data, is_cut)
    if not first_of(SUSPECT, data, 1) then return data end
    take(10)
    return patterns(query(data, rule.query), rule, is_cut)
  end
  -- In what is surely no text, a parameter's value would go on over the fields that follow.
  local function either(data, is_cut)
    pass(data)
    if not first_of(NO_TEXT, data, 1) then return hide(data, is_cut) end
    if not first_of(SUSPECT, data, 1) then return data end
    take(7)
    return patterns(data, rule, is_cut)
  end
  keeps_length = true
  local function edited(data, is_cut, missing) return message_without(data, hide, either, is_cut, missing) end
  return messages(text, edited, cut)
end

-- With placeholders, the collector hides all of it.
local function hides_nothing(rule)
  return not (next(rule.names) or next(rule.query) or rule.paths[1] or rule.jwt or rule.userinfo or rule.email or rule.card)
end

function R.body(text, content_type, encoding, rule, cut)
  if text == "" or (encoding ~= "" and lower(encoding) ~= "identity") or hides_nothing(rule) then return text end
  content_type, keeps_length, left = lower(content_type), false, MOST_STEPS - #text / 16
  -- gRPC-Web's text is base64.
  local is_grpc = find(content_type, "^application/grpc") and not find(content_type, "^application/grpc%-web%-text")
  local is_done, found = pcall(is_grpc and grpc or plain_body, text, content_type, rule, cut)
  keeps_length = false
  if not is_done and found ~= TOO_MUCH then error(found, 0) end
  return found
end
