"""Structured logs on stderr: text for people, JSON lines for machines."""

import json
import logging
import sys
import time
from typing import Literal, TextIO

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

# A line break or an escape sequence in what a caller sent must not forge a record or drive a terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
_CONTROLS |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_CONTROLS_OF_A_LINE = {code: text for code, text in _CONTROLS.items() if code != ord("\n")}

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def harmless(text: str) -> str:
    """Return *text* on one line, with control characters and half characters (lone surrogates) escaped."""
    return text.translate(_CONTROLS).encode(errors="backslashreplace").decode()


def configure(level: LogLevel, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Send all records of *level* and above to *stream* (stderr) in that format; replaces what was configured."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Each is chatty at info about what an operator of these services did not ask.
    for name in ("uvicorn.access", "uvicorn.error", "watchfiles", "httpx", "httpcore", "grpc"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


class TextFormatter(logging.Formatter):
    """`TIME LEVEL LOGGER MESSAGE key=value …`; a record's `extra` fields become the pairs, control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, and its traceback, if it has one, indented below it."""
        pairs = "".join(f" {key}={value!r}" for key, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname:<7} {record.name} {harmless(record.getMessage())}{pairs}"
        if not record.exc_info:
            return line
        traceback = self.formatException(record.exc_info).translate(_CONTROLS_OF_A_LINE)
        return "\n  ".join([line, *traceback.split("\n")])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the record's `extra` fields, and exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; what JSON cannot hold becomes its text."""
        entry: dict[str, object] = {
            **_fields(record),
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)
