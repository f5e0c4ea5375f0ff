"""HAR 1.2 as JSON Schema, from http://www.softwareishard.com/blog/har-12-spec: a field of one's own begins with _."""

from typing import Any


def record(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **optional, "comment": TEXT},
        "required": list(required),
        "patternProperties": {"^_": {}},
        "additionalProperties": False,
    }


def several(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer", "minimum": -1}
TIME: dict[str, Any] = {"type": "number", "minimum": 0}
ISO_8601: dict[str, Any] = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$",
}
NAMED = record({"name": TEXT, "value": TEXT})
PARAM = record({"name": TEXT}, value=TEXT, fileName=TEXT, contentType=TEXT)
COOKIE = record(
    {"name": TEXT, "value": TEXT},
    path=TEXT,
    domain=TEXT,
    expires=ISO_8601,
    httpOnly={"type": "boolean"},
    secure={"type": "boolean"},
)
MESSAGE = {
    "httpVersion": TEXT,
    "cookies": several(COOKIE),
    "headers": several(NAMED),
    "headersSize": WHOLE,
    "bodySize": WHOLE,
}
REQUEST = record(
    {
        "method": TEXT,
        "url": {"type": "string", "format": "uri", "pattern": "^https?://"},
        **MESSAGE,
        "queryString": several(NAMED),
    },
    postData=record({"mimeType": TEXT, "params": several(PARAM), "text": TEXT}),
)
RESPONSE = record(
    {
        "status": {"type": "integer", "minimum": 0},
        "statusText": TEXT,
        **MESSAGE,
        "content": record({"size": WHOLE, "mimeType": TEXT}, compression=WHOLE, text=TEXT, encoding=TEXT),
        "redirectURL": TEXT,
    }
)
STATE = record({"lastAccess": TEXT, "eTag": TEXT, "hitCount": WHOLE}, expires=ISO_8601)
ENTRY = record(
    {
        "startedDateTime": ISO_8601,
        "time": TIME,
        "request": REQUEST,
        "response": RESPONSE,
        "cache": record({}, beforeRequest=STATE, afterRequest=STATE),
        "timings": record(
            {"send": TIME, "wait": TIME, "receive": TIME}, blocked=TIME, dns=TIME, connect=TIME, ssl=TIME
        ),
    },
    pageref=TEXT,
    serverIPAddress=TEXT,
    connection=TEXT,
)
PROGRAM = record({"name": TEXT, "version": TEXT})
HAR_1_2 = record(
    {
        "log": record(
            {"version": {"const": "1.2"}, "creator": PROGRAM, "entries": several(ENTRY)}, browser=PROGRAM
        )
    }
)
