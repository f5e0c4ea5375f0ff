-- What compiled predicates (core/predicate/lua.py) call, as P, on a request, as r; core/predicate/evaluator.py decides
-- the same in Python, and a test holds both equal.
local P = {}
local Request = {}
Request.__index = Request

-- `get` returns a header's values joined by commas, or nil; the others are functions too, asked when needed.
function P.request(get, id, address, principal)
  return setmetatable({get = get, number = id, peer = address, peer_principal = principal}, Request)
end

function Request:header(name) return self.get(name) end
function Request:method() return self.get(":method") end
function Request:principal() return self.peer_principal() end

function Request:path()
  local path = self.get(":path")
  return path and string.match(path, "^[^?]*")
end

function Request:authority()
  local authority = self.get(":authority")
  return authority and string.lower(authority)
end

function Request:grpc_method()
  local path = self:path()
  local is_grpc = string.sub(self.get("content-type") or "", 1, 16) == "application/grpc"
  return path and is_grpc and string.match(path, "^/(.*)") or nil
end

-- The peer's IPv4 address as a number.
function Request:address()
  local a, b, c, d = string.match(self.peer() or "", "^(%d+)%.(%d+)%.(%d+)%.(%d+):%d+$")
  return a and ((a * 256 + b) * 256 + c) * 256 + d
end

-- W3C Trace Context 3.2.1; B3 multiple and single headers.
local function hexadecimal(digits)
  local n = digits and #digits
  if n ~= 16 and n ~= 32 then return nil end
  return string.rep("0", 32 - n) .. string.lower(digits)
end

function Request:trace_id()
  local digits = string.match(self.get("traceparent") or "", "^%x%x%-(%x+)%-")
  if digits and #digits == 32 then return hexadecimal(digits) end
  return hexadecimal(string.match(self.get("x-b3-traceid") or "", "^(%x+)$"))
    or hexadecimal(string.match(self.get("b3") or "", "^(%x+)%-"))
end

-- A hash of 32 bits, which the evaluator has, too; no product is over 2^53, up to which a number is exact.
local function spread(text)
  local found = 0
  for at = 1, #text do found = (found * 65599 + string.byte(text, at)) % 4294967296 end
  return (found * 40503 % 65536 * 65536 + found * 31161) % 4294967296
end

-- Where in 32 bits the trace stands; by chance for a request without any id.
function Request:place()
  local id = self:trace_id()
  if id then return spread(id) end
  id = self.get("x-request-id") or ""
  -- Envoys write their reasons for tracing into it, each its own.
  if id ~= "" then return spread(string.sub(id, 1, 14) .. string.sub(id, 16)) end
  return math.floor(self.number() / 1048576)
end

function P.is(text, wanted) return text == wanted end
function P.begins(text, wanted) return text ~= nil and string.sub(text, 1, #wanted) == wanted end
function P.contains(text, wanted) return text ~= nil and string.find(text, wanted, 1, true) ~= nil end
function P.like(text, pattern) return text ~= nil and string.find(text, pattern) ~= nil end
function P.exists(text) return text ~= nil end
function P.below(number, limit) return number < limit end
function P.within(address, first, count) return address ~= nil and address >= first and address < first + count end
function P.bit(holds) return holds and "1" or "0" end
