"""Bodies as people read them: codings taken off, charsets read, JSON set out, gRPC and WebSocket taken apart.

`decoded(exchange)` gives values (see `model`), `as_object` the same as JSON, which is the field `decoded` of the API:

    {"request": BODY or null, "response": BODY or null}          null: that half was not captured

BODY has always
    "kind": one of the below          "media_type": "application/json" ("": none said)      "charset": "utf-8" or ""
    "bytes": as captured              "opened_bytes": out of its codings                    "codings": ["gzip"]
    "notes": ["…", …]                 what is missing, or not as declared, for people to read

and by its kind
    "empty"
    "text"       "text", "language": "json" | "xml" | "html" | "css" | "javascript" | ""     JSON is set out on lines
    "form"       "fields": [[NAME, VALUE], …]
    "multipart"  "parts": [{"name", "filename", "headers": [[NAME, VALUE], …], "body": BODY}, …]
    "grpc"       "method": "/pkg.Service/Method", "messages": [{"bytes", "compressed": bool, "complete": bool,
                 "type": "pkg.Message", "text": JSON (both "" without a descriptor set), "fields": [FIELD, …],
                 "hexdump" ("" unless it is neither)}, …]; gRPC-Web's trailers are a message of type "trailers"
                 FIELD: {"number", "wire": "varint" | "i64" | "i32" | "text" | "bytes" | "message",
                 "value": decimal digits, text, hexadecimal digits, or [FIELD, …] of a message}
    "websocket"  "frames": [{"bytes", "opcode": "text" | "binary" | "close" | "ping" | …, "final": bool,
                 "compressed": bool, "complete": bool, "text", "hexdump" ("" where the other one is)}, …]
    "image"      "image": "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "image/avif" | "image/bmp" |
                 "image/x-icon", "base64": "" where it is longer than 256 KiB
    "binary"     "hexdump": rows of 16 of the first 4096 bytes

What a peer sent is in all of it, so it is shown as text and never as markup.
"""

from envoy_tap.core.decode.data import as_object, body_object
from envoy_tap.core.decode.exchange import Decoded, decoded
from envoy_tap.core.decode.model import Body, Limits, Schema

__all__ = ["Body", "Decoded", "Limits", "Schema", "as_object", "body_object", "decoded"]
