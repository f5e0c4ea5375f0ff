"""Conditions that would tell what no one is to see: who may choose them finds a secret, guess by guess."""

from envoy_tap.core.predicate.fields import header_name
from envoy_tap.core.predicate.jsonpath import Step, steps
from envoy_tap.core.predicate.model import Condition, Expr, Op, conditions
from envoy_tap.core.predicate.parser import Refusal
from envoy_tap.core.redaction.rules import Redaction, spellings

_JSON = frozenset({"request.json", "response.json"})
_LEAVE_OUT = "leave this condition out"
_ONLY_WHETHER = "ask only whether it is there: {} exists"


def refusal(rules: Redaction, never_headers: frozenset[str]) -> Refusal:
    """Return what refuses conditions on what *rules* redact, but whether it is there, and all on *never_headers*."""
    secret = spellings(rules.names)
    paths = [steps(path) for path in sorted(rules.paths)]

    def refused(condition: Condition) -> tuple[str, str] | None:
        field = condition.field
        name = _header(condition)
        if name in never_headers:
            return (
                f"the policy never lets {field.key or name} be captured, nor compared",
                _LEAVE_OUT,
            )
        is_redacted = name in rules.headers or (
            field.name in _JSON and _is_secret(steps(field.key or ""), secret, paths)
        )
        if not is_redacted or condition.op is Op.EXISTS:
            return None
        if field.key is None:
            return f"{field.name} is redacted, so it cannot be compared", _LEAVE_OUT
        written = f"{field.name}[{field.key}]"
        return f"{written} is redacted, so it cannot be compared", _ONLY_WHETHER.format(written)

    return refused


def first_refused(expr: Expr, refused: Refusal) -> str:
    """Return what is wrong with the first condition of *expr* that is refused, "" if none is."""
    return next((problem[0] for each in conditions(expr) if (problem := refused(each))), "")


def _header(condition: Condition) -> str:
    match condition.field.name:
        case "authority":
            return ":authority"
        case "header" | "response.header":
            return header_name((condition.field.key or "").lower())
    return ""


def _is_secret(path: tuple[Step, ...], names: frozenset[str], paths: list[tuple[Step, ...]]) -> bool:
    """Whether *path* leads to a redacted value, or into one."""
    if any(isinstance(step, str) and _folded(step) in names for step in path):
        return True
    return any(
        len(path) >= len(each)
        and all("*" in (step, other) or step == other for step, other in zip(path, each, strict=False))
        for each in paths
    )


def _folded(name: str) -> str:
    return name.encode(errors="replace").lower().decode()
