-- Sends each targeted exchange to the tap service as two calls for each session, one for the request and one for the
-- response, each with the messages of a StreamTaps stream: a request that hangs, or is reset, is told as soon as it has
-- passed. script.py puts a head before this, which holds literals only, and the parts F, P and R.
local NAMESPACE = "envoy_tap"
-- How long a call may wait for a busy service; what it carries is held for so long, and nothing else waits for it.
local TIMEOUT_MS = 10000
-- Below gRPC's usual limit of 4 MiB a message.
local PIECE_BYTES = 1048576
-- Messages of so many bytes together go as one unary call, which costs the service a tenth of a stream.
local WHOLE_BYTES = 3145728
local WHOLE_PATH, STREAM_PATH = "/envoy_sidecar.tap.WholeStreams/TakeTaps", "/envoy.service.tap.v3.TapSinkService/StreamTaps"
local TWO_52 = 4503599627370496
-- Field numbers of HttpStreamedTraceSegment: headers, body chunk, trailers.
local REQUEST, RESPONSE = {2, 3, 4}, {5, 6, 7}

-- Request halves not sent yet, by trace id. The values are weak: only the request's own coroutine keeps one alive, so
-- that nothing stays behind when a stream is reset.
local unsent = setmetatable({}, {__mode = "v"})
local seeded = false

local function varint(n)
  local bytes = {}
  repeat
    local low = n % 128
    n = (n - low) / 128
    bytes[#bytes + 1] = string.char(n > 0 and low + 128 or low)
  until n == 0
  return table.concat(bytes)
end

local function delimited(field, bytes) return varint(field * 8 + 2) .. varint(#bytes) .. bytes end
local function number(field, n) return varint(field * 8) .. varint(n) end

-- The length prefix of a gRPC message, uncompressed.
local function framed(message)
  local n = #message
  return string.char(0, math.floor(n / 16777216) % 256, math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
    .. message
end

local function identifier(session)
  return delimited(1, delimited(1, delimited(1, NODE_ID) .. delimited(2, NODE_CLUSTER)) .. delimited(2, session.tap_id))
end

-- HeaderMap. A value that is not plain ASCII goes to raw_value (3): in value (2) one bad byte makes the message unreadable.
local function header(name, value)
  local field = string.find(value, "[\128-\255]") and 3 or 2
  return delimited(1, delimited(1, name) .. delimited(field, value))
end

local function all_headers(pairs_)
  local out = {}
  for _, pair in ipairs(pairs_) do out[#out + 1] = header(pair[1], pair[2]) end
  return table.concat(out)
end

local function header_map(session, headers)
  local out = {}
  R.begin()
  for _, pair in ipairs(headers) do out[#out + 1] = header(pair[1], R.header(string.lower(pair[1]), pair[2], session)) end
  return table.concat(out)
end

local function listed(headers)
  local out = {}
  for name, value in pairs(headers) do out[#out + 1] = {name, value} end
  return out
end

local function trace_id(request_id)
  if not seeded then
    -- LuaJIT starts every worker with the same numbers.
    local address = tonumber(string.match(tostring({}), "0x(%x+)") or "0", 16) or 0
    math.randomseed(address + os.time() * 4096 + os.clock() * 1000000)
    seeded = true
  end
  -- x-request-id alone will not do: services pass it on, so one proxy sees it on several requests at a time.
  local digits = string.sub(string.gsub(request_id or "", "%X", ""), 1, 13)
  local id = (tonumber(digits, 16) or 0) + math.random(0, 67108863) * 67108864 + math.random(0, 67108863)
  return id % TWO_52
end

local function now_us(handle) return handle:timestampString(EnvoyTimestampResolution.MICROSECOND) end

local function begin(handle, id, fields, sessions)
  local cap = 0
  for _, session in ipairs(sessions) do cap = math.max(cap, session.body_cap) end
  local headers = handle:headers()
  return {
    id = id, fields = fields, sessions = sessions, cap = cap, headers = listed(headers), told = {},
    content_type = headers:get("content-type") or "", encoding = headers:get("content-encoding") or "",
    chunks = {}, size = 0, truncated = false,
  }
end

-- Keeps no more than the cap, but reads on to the end: trailers come last.
local function read(handle, half)
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    local kept = math.min(length, half.cap - half.size)
    if kept < length then half.truncated = true end
    if kept > 0 then
      half.chunks[#half.chunks + 1] = chunk:getBytes(0, kept)
      half.size = half.size + kept
    end
  end
  local trailers = handle:trailers()
  if trailers then half.trailers = listed(trailers) end
end

local function send_to(handle, half, session, body)
  local out, size, told = {}, 0, half.told[session.tap_id] or ""
  local function add(field, content)
    local message = number(2, half.id) .. delimited(3, delimited(2, number(1, half.id) .. delimited(field, content)))
    if #out == 0 then message = identifier(session) .. message end
    out[#out + 1], size = message, size + #message
  end
  local truncated = half.truncated or #body > session.body_cap
  body = R.body(string.sub(body, 1, session.body_cap), half.content_type, half.encoding, session, truncated)
  add(half.fields[1], header_map(session, half.headers) .. header(":tap-time", half.time or now_us(handle)) .. told)
  for first = 1, #body, PIECE_BYTES do add(half.fields[2], delimited(1, string.sub(body, first, first + PIECE_BYTES - 1))) end
  if truncated then add(half.fields[2], number(3, 1)) end
  if half.trailers then add(half.fields[3], header_map(session, half.trailers)) end
  local whole = size <= WHOLE_BYTES
  -- TakeTapsRequest has them in its field 1.
  for place, message in ipairs(out) do out[place] = whole and delimited(1, message) or framed(message) end
  local content = table.concat(out)
  handle:httpCall(CLUSTER, {
    [":method"] = "POST",
    [":path"] = whole and WHOLE_PATH or STREAM_PATH,
    [":authority"] = "envoy-tap",
    ["content-type"] = "application/grpc",
    ["te"] = "trailers",
  }, whole and framed(content) or content, TIMEOUT_MS, true)
end

local function send(handle, half)
  if half.sent then return end
  half.sent = true
  local body = table.concat(half.chunks)
  for _, session in ipairs(half.sessions) do send_to(handle, half, session, body) end
end

-- Whether `session` has room at `now`, in this worker; what finds none is counted and told with the next that does.
local function admits(session, now)
  if session.second ~= now then session.second, session.in_second = now, 0 end
  if session.in_second >= session.rate then
    session.skipped = (session.skipped or 0) + 1
    return false
  end
  session.in_second = session.in_second + 1
  return true
end

-- Asked once, and only if needed.
local function source(handle)
  local known
  return function()
    known = known or {F.address(handle), F.principal(handle)}
    return known
  end
end

local function targeting(handle, headers, id)
  local now, found, told, request, peer, facts = os.time(), {}, {}, nil, nil, nil
  for _, session in ipairs(SESSIONS) do
    if now < session.expires_at then
      peer = peer or source(handle)
      request = request or P.request(function(name) return headers:get(name) end, id, function() return peer()[1] end, function() return peer()[2] end)
      if session.may(request) and not R.forbids(headers:get(":path"), NEVER_PATHS) and admits(session, now) then
        found[#found + 1] = session
        local beside = {header(":tap-decided", session.decided(request))}
        facts = facts or all_headers(F.of_request(handle))
        beside[2] = facts
        if peer()[1] then beside[3] = header(":tap-source-address", peer()[1]) end
        if peer()[2] then beside[#beside + 1] = header(":tap-source-principal", peer()[2]) end
        if session.skipped then beside[#beside + 1] = header(":tap-skipped", tostring(session.skipped)) end
        session.skipped = nil
        told[session.tap_id] = table.concat(beside)
      end
    end
  end
  return found, told
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local id
  local function own_id()
    id = id or trace_id(headers:get("x-request-id"))
    return id
  end
  local sessions, told = targeting(handle, headers, own_id)
  if #sessions == 0 then return end
  local half = begin(handle, own_id(), REQUEST, sessions)
  half.told, half.time = told, now_us(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  for _, session in ipairs(sessions) do metadata:set(NAMESPACE, session.tap_id, id) end
  if headers:get("upgrade") or headers:get(":method") == "CONNECT" then
    -- A tunnel has no end to wait for: its headers are what can be told.
    metadata:set(NAMESPACE, "/tunnel", true)
    half.truncated = true
    return send(handle, half)
  end
  unsent[id] = half
  read(handle, half)
  send(handle, half)
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  if not metadata then return end
  local sessions, id = {}, nil
  for _, session in ipairs(SESSIONS) do
    if metadata[session.tap_id] then
      id, sessions[#sessions + 1] = metadata[session.tap_id], session
    end
  end
  if not id then return end
  local half = begin(handle, id, RESPONSE, sessions)
  local facts = all_headers(F.of_response(handle))
  for _, session in ipairs(sessions) do half.told[session.tap_id] = facts end
  local status = handle:headers():get(":status")
  if metadata["/tunnel"] and (status == "101" or status == "200") then
    half.truncated = true
  else
    read(handle, half)
  end
  -- A reply that comes before the request's body ends would leave the request half waiting for what never comes.
  local request = unsent[id]
  if request and not request.sent then
    request.truncated = true
    send(handle, request)
  end
  send(handle, half)
end
