-- Sends each targeted exchange to the tap service as two StreamTaps calls: one for the request, one for the response.
-- Every at-sign placeholder is replaced by an escaped literal (script.py); nothing else is ever put in here.
local CLUSTER, TAP_ID = @CLUSTER@, @TAP_ID@
local NODE_ID, NODE_CLUSTER = @NODE_ID@, @NODE_CLUSTER@
local EXPIRES_AT, BODY_CAP = @EXPIRES_AT@, @BODY_CAP@
local METHOD, AUTHORITY = @METHOD@, @AUTHORITY@
local PATH, PATH_IS_PREFIX = @PATH@, @PATH_IS_PREFIX@
local HEADER, HEADER_VALUE = @HEADER@, @HEADER_VALUE@
local REDACTED = @REDACTED@

local NAMESPACE = "envoy_tap"
local TIMEOUT_MS = 1000
-- Below gRPC's usual limit of 4 MiB a message.
local PIECE_BYTES = 1048576
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

local IDENTIFIER = delimited(1, delimited(1, delimited(1, NODE_ID) .. delimited(2, NODE_CLUSTER)) .. delimited(2, TAP_ID))

-- HeaderMap. A value that is not plain ASCII goes to raw_value (3): in value (2) one bad byte makes the message unreadable.
local function header_map(headers)
  local out = {}
  for name, value in pairs(headers) do
    if REDACTED[string.lower(name)] then value = "[redacted]" end
    local field = string.find(value, "[\128-\255]") and 3 or 2
    out[#out + 1] = delimited(1, delimited(1, name) .. delimited(field, value))
  end
  return table.concat(out)
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

local function begin(handle, id, fields)
  return {id = id, fields = fields, headers = header_map(handle:headers()), chunks = {}, size = 0, truncated = false}
end

-- Keeps no more than the cap, but reads on to the end: trailers come last.
local function read(handle, half)
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    local kept = math.min(length, BODY_CAP - half.size)
    if kept < length then half.truncated = true end
    if kept > 0 then
      half.chunks[#half.chunks + 1] = chunk:getBytes(0, kept)
      half.size = half.size + kept
    end
  end
  local trailers = handle:trailers()
  if trailers then half.trailers = header_map(trailers) end
end

local function send(handle, half)
  if half.sent then return end
  half.sent = true
  local out = {}
  local function add(field, content)
    local message = number(2, half.id) .. delimited(3, delimited(2, number(1, half.id) .. delimited(field, content)))
    out[#out + 1] = framed(#out == 0 and IDENTIFIER .. message or message)
  end
  add(half.fields[1], half.headers)
  local body = table.concat(half.chunks)
  for first = 1, #body, PIECE_BYTES do add(half.fields[2], delimited(1, string.sub(body, first, first + PIECE_BYTES - 1))) end
  if half.truncated then add(half.fields[2], number(3, 1)) end
  if half.trailers then add(half.fields[3], half.trailers) end
  handle:httpCall(CLUSTER, {
    [":method"] = "POST",
    [":path"] = "/envoy.service.tap.v3.TapSinkService/StreamTaps",
    [":authority"] = "envoy-tap",
    ["content-type"] = "application/grpc",
    ["te"] = "trailers",
  }, table.concat(out), TIMEOUT_MS, true)
end

local function targeted(headers)
  if os.time() >= EXPIRES_AT then return false end
  if METHOD and headers:get(":method") ~= METHOD then return false end
  if AUTHORITY and string.lower(headers:get(":authority") or "") ~= AUTHORITY then return false end
  if PATH then
    local path = string.match(headers:get(":path") or "", "^[^?]*")
    if PATH_IS_PREFIX then path = string.sub(path, 1, #PATH) end
    if path ~= PATH then return false end
  end
  return not HEADER or headers:get(HEADER) == HEADER_VALUE
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if not targeted(headers) then return end
  local id = trace_id(headers:get("x-request-id"))
  local half = begin(handle, id, REQUEST)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(NAMESPACE, TAP_ID, id)
  if headers:get("upgrade") or headers:get(":method") == "CONNECT" then
    -- A tunnel has no end to wait for: its headers are what can be told.
    metadata:set(NAMESPACE, TAP_ID .. "/tunnel", true)
    half.truncated = true
    return send(handle, half)
  end
  unsent[id] = half
  read(handle, half)
  send(handle, half)
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  local id = metadata and metadata[TAP_ID]
  if not id then return end
  local headers = handle:headers()
  local half = begin(handle, id, RESPONSE)
  local status = headers:get(":status")
  if metadata[TAP_ID .. "/tunnel"] and (status == "101" or status == "200") then
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
