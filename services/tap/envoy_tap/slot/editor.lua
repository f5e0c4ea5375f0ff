-- What the parts of redaction share: editor, patterns, json_text, framed and redaction are one after the other in the script, and
-- core/redaction has the same parts in Python.
local MASK = "[redacted]"
local find, sub, match, lower, byte = string.find, string.sub, string.match, string.lower, string.byte

-- Whether what takes a secret's place is as long as it is.
local keeps_length = false

local function mask(width)
  if not keeps_length then return MASK end
  return width < #MASK and string.rep("*", width) or MASK .. string.rep("*", width - #MASK)
end

-- Collects `text` with pieces of it replaced; pieces come in their order.
local function editor(text)
  local out, copied = {}, 1
  local function replace(first, last, with)
    out[#out + 1] = sub(text, copied, first - 1)
    out[#out + 1] = with
    copied = last + 1
  end
  return {
    replace = replace,
    hide = function(first, last) replace(first, last, mask(last - first + 1)) end,
    done = function()
      if copied == 1 then return text end
      out[#out + 1] = sub(text, copied)
      return table.concat(out)
    end,
  }
end
