-- Redaction before anything leaves the proxy, as R; core/redaction does the same in Python, and a test holds both equal.
-- Every loop goes forward through its text, so that no body can hold a worker up.
local R = {}
local NAME_MOST = 1024
local NO_TEXT = "[%z\1-\8\14-\26\28-\31]"
local URL_HEADERS = {
  [":path"] = true, ["content-location"] = true, location = true, referer = true, ["x-envoy-original-path"] = true,
  ["x-forwarded-uri"] = true, ["x-original-uri"] = true, ["x-original-url"] = true, ["x-rewrite-url"] = true,
}

local function decoded(name)
  if not find(name, "[%%+]") then return lower(name) end
  name = string.gsub(name, "%+", " ")
  name = string.gsub(name, "%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  return lower(name)
end

-- `user[password]` is a `password`.
local function known_as(names, name)
  name = decoded(name)
  if names[name] then return true end
  if #name > 256 then return false end
  local last = name
  for each in string.gmatch(name, "[^%[%]%.]+") do last = each end
  return names[last] or false
end

-- What stands between names and values of parameters, also in an address within another, or in JSON; HTML's &amp; ends
-- with one, too. By its bytes, or their digits.
local MARKS = {
  ["="] = "=", ["?"] = "?", ["&"] = "&", ["#"] = "#", [";"] = ";",
  ["3d"] = "=", ["3f"] = "?", ["26"] = "&", ["23"] = "#", ["3b"] = ";",
}

-- Where the value ends that begins at `at`. Where a URL in a text ends, nobody says; quotes in it may be escaped.
local function value_end(text, at, within, is_matrix)
  local last
  if within == "form" then
    _, last = find(text, "^[^&]*", at)
  elseif within == "url" then
    _, last = find(text, is_matrix and "^[^&#/?;]*" or "^[^&#]*", at)
  else
    while true do
      _, last = find(text, "^[^&#%s\"<>\\]*", at)
      if sub(text, last + 1, last + 1) ~= "\\" then break end
      at = last + (find(text, "^[\"\\]", last + 2) and 3 or 2)
    end
  end
  return last
end

-- `within`: "url" or "form", where all of the text is one.
local function query(text, names, within)
  if not (find(text, "=", 1, true) or find(text, "%3", 1, true) or find(text, "\\u003", 1, true)) then return text end
  local path_end = find(text, "?", 1, true) or #text + 1
  -- Its beginning may be that of a query, too.
  local edit, start, after_semicolon, at = editor(text), 1, false, 1
  while true do
    local first = find(text, "[=?&#;%%\\]", at)
    if not first then return edit.done() end
    local char, last = sub(text, first, first), first
    if char == "%" then
      char, last = lower(match(text, "^%%(%x%x)", first) or ""), first + 2
    elseif char == "\\" then
      char, last = lower(match(text, "^\\u00(%x%x)", first) or ""), first + 5
    end
    local mark = MARKS[char]
    if mark then
      at = last + 1
      if mark == "=" and first - start <= NAME_MOST then
        local name = sub(text, start, first - 1)
        if (within or not find(name, "[%s\"]")) and known_as(names, name) then
          local stop = value_end(text, at, within, after_semicolon and start <= path_end)
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
  local edit, start, at = editor(text), 1, 1
  while true do
    local first = find(text, "[=&;]", at)
    if not first then return edit.done() end
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
      edit.hide(blank + 1, last)
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
    at = find(text, "%S", blank + 1)
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

-- `name` in lower case.
function R.header(name, value, rule)
  if rule.headers[name] then return MASK end
  return patterns(query(value, rule.query, URL_HEADERS[name] and "url"), rule)
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
    if find(text, "^%s*[{%[]") or find(text, "^\239\187\191%s*[{%[]") then
      text, within = json(text, rule, false), nil
    end
  end
  return patterns(query(text, rule.query, within), rule, cut)
end

local function grpc(text, content_type, rule, cut)
  if find(content_type, "json", 1, true) then
    return messages(text, function(data, is_cut) return plain_body(data, content_type, rule, is_cut) end, cut)
  end
  local function everywhere(data, is_cut) return patterns(data, rule, is_cut) end
  local function hide(data, is_cut) return everywhere(query(data, rule.query), is_cut) end
  -- In what is surely no text, a parameter's value would go on over the fields that follow.
  local function either(data, is_cut) return (find(data, NO_TEXT) and everywhere or hide)(data, is_cut) end
  keeps_length = true
  text = messages(text, function(data, is_cut) return message_without(data, hide, either, is_cut) end, cut)
  keeps_length = false
  return text
end

function R.body(text, content_type, encoding, rule, cut)
  if text == "" or (encoding ~= "" and lower(encoding) ~= "identity") then return text end
  content_type, keeps_length = lower(content_type), false
  -- gRPC-Web's text is base64.
  local is_grpc = find(content_type, "^application/grpc") and not find(content_type, "^application/grpc%-web%-text")
  return (is_grpc and grpc or plain_body)(text, content_type, rule, cut)
end
