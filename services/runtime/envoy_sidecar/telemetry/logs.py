"""Structured logs on stderr: text for people, JSON lines for machines."""

import json
import logging
import sys
import time
from typing import TextIO

from envoy_sidecar.settings import LogFormat, LogLevel

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def configure(level: LogLevel, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Send all records of *level* and above to *stream* (stderr) in that format; replaces what was configured."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Each is chatty at info about what an operator of these services did not ask.
    for name in ("uvicorn.access", "uvicorn.error", "watchfiles.main", "httpx", "grpc"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


class TextFormatter(logging.Formatter):
    """`TIME LEVEL LOGGER MESSAGE key=value …`; a record's `extra` fields become the pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, and a traceback below it if it has one."""
        pairs = "".join(f" {key}={value!r}" for key, value in _fields(record).items())
        message = record.getMessage().replace("\n", "\n  ")
        line = f"{_time(record)} {record.levelname:<7} {record.name} {message}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the record's `extra` fields, and exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; what JSON cannot hold becomes its text."""
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)
