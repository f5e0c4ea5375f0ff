"""What the tap service has captured: `exchanges.jsonl` in its data folder, read from outside."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

FILE_NAME = "exchanges.jsonl"


@dataclass(frozen=True, slots=True)
class Captured:
    """One exchange as the tap service wrote it; header names in lower case, the last of repeated ones."""

    method: str
    path: str
    request_headers: dict[str, str]
    request_body: str
    status: int
    response_headers: dict[str, str]
    response_body: str
    truncated: bool
    incomplete: bool

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read one line of the file; ValueError, KeyError or TypeError if it is not of the form agreed on."""
        exchange: dict[str, Any] = json.loads(line)
        request = exchange["request"] or {}
        response = exchange["response"] or {}
        return cls(
            method=request.get("method") or "",
            path=request.get("path") or "",
            request_headers=dict(request.get("headers", ())),
            request_body=request.get("body", ""),
            status=response.get("status") or 0,
            response_headers=dict(response.get("headers", ())),
            response_body=response.get("body", ""),
            truncated=exchange["flags"]["truncated"],
            incomplete=exchange["flags"]["incomplete"],
        )


def captured(data: Path) -> Iterator[Captured]:
    """Yield every exchange that is wholly written in the tap's folder *data*."""
    try:
        text = (data / FILE_NAME).read_text("utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield Captured.parse(line)


def find(data: Path, request_id: str) -> Captured | None:
    """Return the exchange of the request with that x-request-id; None while there is none."""
    for exchange in captured(data):
        if exchange.request_headers.get("x-request-id") == request_id:
            return exchange
    return None
