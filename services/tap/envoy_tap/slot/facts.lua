-- What the proxy knows of an exchange beside its headers and bodies, as F: pairs of a name (core/annotations.py) and a
-- text. An Envoy whose Lua knows less costs the fact, not the capture.
local F = {}

local function known(ask)
  local asked, value = pcall(ask)
  return asked and type(value) == "string" and value ~= "" and value or nil
end

local function add(out, name, ask)
  local value = known(ask)
  if value then out[#out + 1] = {name, value} end
end

local function principal(tls)
  if not tls:peerCertificatePresented() then return nil end
  local names = tls:uriSanPeerCertificate()
  if not names[1] then names = tls:dnsSansPeerCertificate() end
  return names[1] or tls:subjectPeerCertificate()
end

function F.address(handle)
  return known(function() return handle:streamInfo():downstreamRemoteAddress() end)
end

function F.principal(handle)
  return known(function()
    local tls = handle:streamInfo():downstreamSslConnection()
    return tls and principal(tls)
  end)
end

function F.of_request(handle)
  local info, out = handle:streamInfo(), {}
  add(out, ":tap-protocol", function() return info:protocol() end)
  add(out, ":tap-local-address", function() return info:downstreamLocalAddress() end)
  add(out, ":tap-server-name", function() return info:requestedServerName() end)
  local asked, tls = pcall(function() return info:downstreamSslConnection() end)
  if asked and tls then
    add(out, ":tap-tls-version", function() return tls:tlsVersion() end)
    add(out, ":tap-tls-cipher", function() return tls:ciphersuiteString() end)
  end
  return out
end

function F.of_response(handle)
  local out = {}
  -- Not with the request: a filter behind the slot may have chosen another route.
  add(out, ":tap-route", function() return handle:streamInfo():routeName() end)
  return out
end
