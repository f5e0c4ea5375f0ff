"""Paths into JSON: `order.items[0].id`; as predicates and redaction use them."""

import json
import re
from typing import Any

Step = str | int
"""A member's name, or an element's index; `*` is any."""

_STEP = re.compile(r"(?:^|\.)([^.\[\]]+)|\[([0-9]{1,6}|\*)\]")
_MAX_STEPS = 16
MISSING = object()


def steps(path: str) -> tuple[Step, ...]:
    """Return the steps of *path*; raises ValueError with what is wrong with it."""
    found: list[Step] = []
    at = 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise ValueError(f"{path!r} is not a path into JSON")
        found.append(step[1] if step[1] is not None else "*" if step[2] == "*" else int(step[2]))
        at = step.end()
    if not 0 < len(found) <= _MAX_STEPS:
        raise ValueError(f"a path into JSON has 1 to {_MAX_STEPS} steps, not {len(found)}")
    return tuple(found)


def parsed(body: bytes) -> Any:
    """Return *body* as JSON data; MISSING if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return MISSING


def found_at(data: Any, path: str) -> list[Any]:
    """Return the values that *path* leads to."""
    values = [data]
    for step in steps(path):
        values = [found for value in values for found in inner(value, step)]
    return values


def inner(value: Any, step: Step) -> list[Any]:
    """Return the values that one *step* leads to from *value*."""
    if isinstance(value, dict):
        return list(value.values()) if step == "*" else [value[step]] if step in value else []
    if isinstance(value, list):
        if step == "*":
            return list(value)
        return [value[step]] if isinstance(step, int) and step < len(value) else []
    return []
