"""Compares what was captured with the values of conditions; None is what redaction has made unknowable."""

import ipaddress
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

from envoy_tap.core.predicate.jsonpath import Step, inner
from envoy_tap.core.predicate.model import Condition, Op, Scalar
from envoy_tap.core.predicate.values import any_case, regex, template

REDACTION_MARKS = (b"[redacted", b"[hmac:")
ORDER: dict[Op, Callable[[int, int], bool]] = {
    Op.EQUALS: operator.eq,
    Op.BELOW: operator.lt,
    Op.AT_MOST: operator.le,
    Op.ABOVE: operator.gt,
    Op.AT_LEAST: operator.ge,
}
_COMPARISONS: dict[Op, Callable[[bytes, bytes], bool]] = {
    Op.EQUALS: operator.eq,
    Op.BEGINS: bytes.startswith,
    Op.CONTAINS: operator.contains,
}
# With the quotes of a JSON string, which may have been put in with it.
_PLACEHOLDER = re.compile(rb"\"?\[(?:redacted|hmac:)[^\]\n]*\]?\"?")
_NUMBER = re.compile(rb"[0-9]{1,9}")
_IPV4_PEER = re.compile(rb"([0-9]{1,3}(?:\.[0-9]{1,3}){3}):[0-9]+")
_IPV6_PEER = re.compile(rb"\[([0-9a-fA-F:.]+)(?:%[^\]]*)?\]:[0-9]+")


def is_marked(text: bytes) -> bool:
    """Whether something in *text* was replaced (or its sender wrote just that)."""
    return any(mark in text for mark in REDACTION_MARKS)


def text_answer(text: bytes | None, condition: Condition) -> bool | None:
    """Compare a text of which something may have been replaced: what stands before and between that is as it was."""
    if text is None or condition.op is Op.EXISTS or not is_marked(text):
        return text_holds(text, condition)
    wanted = str(condition.value).encode()
    if condition.field.name == "authority":
        text, wanted = text.lower(), wanted.lower()
    pieces = _PLACEHOLDER.split(text)
    if condition.op is Op.CONTAINS:
        return True if any(wanted in piece for piece in pieces) else None
    if condition.op is Op.BEGINS and pieces[0].startswith(wanted):
        return True
    if condition.op in {Op.BEGINS, Op.EQUALS} and not wanted.startswith(pieces[0]):
        return False
    return None


def text_holds(text: bytes | None, condition: Condition) -> bool:
    """Whether *text* fulfils *condition*; None, what is not there, does not."""
    if text is None:
        return False
    value = str(condition.value)
    if condition.op is Op.MATCHES:
        pattern = any_case(value) if condition.field.name == "authority" else value
        return regex(pattern).fullmatch(text) is not None
    wanted = value.encode()
    if condition.field.name == "authority":
        text, wanted = text.lower(), wanted.lower()
    if condition.op is Op.LIKE:
        return _like(text, template(value))
    return condition.op is Op.EXISTS or _COMPARISONS[condition.op](text, wanted)


def _like(path: bytes, segments: tuple[str, ...]) -> bool:
    root, *given = path.split(b"/")
    if root:
        return False
    if segments[-1] == "**":
        segments = segments[:-1]
        # `/a/**` is also /a/, and not /a.
        if len(given) <= len(segments):
            return False
        given = given[: len(segments)]
    return len(given) == len(segments) and all(
        (segment == "*" and part != b"") or part == segment.encode()
        for segment, part in zip(segments, given, strict=True)
    )


def status_holds(status: bytes | None, op: Op, value: Scalar) -> bool:
    """Whether a `:status` compares so with *value*: a number, or a class ("5xx")."""
    if isinstance(value, str):
        return (
            status is not None and _NUMBER.fullmatch(status) is not None and status[:1] == value[:1].encode()
        )
    return number_holds(status, op, int(value or 0))


def number_holds(number: bytes | None, op: Op, value: int) -> bool:
    """Whether *number*, as a header has it, compares so with *value*."""
    return number is not None and _NUMBER.fullmatch(number) is not None and ORDER[op](int(number), value)


def address_holds(peer: bytes | None, network: str) -> bool:
    """Whether *peer*, as Envoy writes it (`10.1.2.3:4711`), is in *network*."""
    found = _IPV4_PEER.fullmatch(peer or b"") or _IPV6_PEER.fullmatch(peer or b"")
    if found is None:
        return False
    try:
        return ipaddress.ip_address(found[1].decode()) in ipaddress.ip_network(network)
    except ValueError:
        return False


def value_answers(value: Any, path: tuple[Step, ...], condition: Condition) -> Iterator[bool | None]:
    """Yield what each value that *path* leads to answers, and None where it may lead into what was replaced."""
    text = value.encode(errors="replace") if isinstance(value, str) else b""
    if is_marked(text):
        yield _marked_value_answer(text, path, condition)
    elif not path:
        yield value_holds(value, condition)
    else:
        for each in inner(value, path[0]):
            yield from value_answers(each, path[1:], condition)
        if isinstance(value, dict) and any(is_marked(name.encode(errors="replace")) for name in value):
            yield None


def _marked_value_answer(text: bytes, path: tuple[Step, ...], condition: Condition) -> bool | None:
    if _PLACEHOLDER.fullmatch(text):
        # There may have been another value than a text.
        return True if condition.op is Op.EXISTS and not path else None
    is_comparable = not path and (condition.op is not Op.EQUALS or isinstance(condition.value, str))
    return text_answer(text, condition) if is_comparable else False


def value_holds(value: Any, condition: Condition) -> bool:
    """Whether *value*, out of JSON, fulfils *condition*."""
    if condition.op is Op.EXISTS:
        return True
    if condition.op is Op.EQUALS:
        return _same(value, condition.value)
    return isinstance(value, str) and text_holds(value.encode(errors="replace"), condition)


def _same(found: Any, wanted: Scalar) -> bool:
    # In Python, True is 1; in JSON it is not.
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    return isinstance(found, str | int | float | None) and bool(found == wanted)
