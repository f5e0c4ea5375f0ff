"""What a driver tells beside the traffic: as pseudo-headers, which no client can send."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from envoy_tap.core.exchange import Exchange, Facts, Message, Pairs

PREFIX = ":tap-"
DECIDED = ":tap-decided"
SKIPPED = ":tap-skipped"
TIME = ":tap-time"
SOURCE_ADDRESS = ":tap-source-address"
SOURCE_PRINCIPAL = ":tap-source-principal"

FACTS = {each.name: f"{PREFIX}{each.name.replace('_', '-')}" for each in fields(Facts)}
"""The annotation of each fact; of the request or of the response, whichever knows it."""

_FACT_OF = {annotation: name for name, annotation in FACTS.items()}
_MAX_LATENCY_S = 24 * 3600
_MAX_SKEW_S = 24 * 3600
_MAX_CHARS = 1024
_NUMBER = re.compile(rb"[0-9]{1,9}")
_TIME_US = re.compile(rb"[0-9]{1,17}")
_BITS = re.compile(rb"[01]{0,64}")


@dataclass(frozen=True, slots=True)
class Told:
    """`decided`: see `predicate.matches`; `skipped`: exchanges that a worker left out since it last told."""

    decided: str = ""
    skipped: int = 0


def taken_off(exchange: Exchange) -> tuple[Exchange, Told]:
    """Return *exchange* without its annotations, which are now its fields, and what they tell beside.

    The times of the proxy take the place of ours if both are there and plausible.
    """
    if exchange.socket is not None:
        return exchange, Told()
    plain_request, request = _apart(exchange.request)
    plain_response, response = _apart(exchange.response)
    started_s, finished_s = _time_s(request), _time_s(response)
    is_plausible = (
        started_s is not None
        and finished_s is not None
        and 0 <= finished_s - started_s < _MAX_LATENCY_S
        and abs(started_s - exchange.started_s) < _MAX_SKEW_S
    )
    decided, skipped = request.get(DECIDED, b""), request.get(SKIPPED, b"")
    beside = Told(
        decided.decode() if _BITS.fullmatch(decided) else "",
        int(skipped) if _NUMBER.fullmatch(skipped) else 0,
    )
    plain = replace(
        exchange,
        request=plain_request,
        response=plain_response,
        source_address=_text(request, SOURCE_ADDRESS),
        source_principal=_text(request, SOURCE_PRINCIPAL),
        facts=Facts(**_facts(request) | _facts(response)),
        started_s=started_s if is_plausible and started_s is not None else exchange.started_s,
        finished_s=finished_s if is_plausible and finished_s is not None else exchange.finished_s,
    )
    return plain, beside


def told(values: dict[str, str]) -> Pairs:
    """Return the annotations by name, such as `TIME`, as headers; what is "" is left out."""
    return tuple((name, value.encode()) for name, value in values.items() if value)


def _apart(message: Message | None) -> tuple[Message | None, Mapping[str, bytes]]:
    """Return *message* without its annotations, and the first value of each."""
    if message is None:
        return None, {}
    plain: list[tuple[str, bytes]] = []
    annotations: dict[str, bytes] = {}
    for pair in message.headers:
        if pair[0].startswith(PREFIX):
            annotations.setdefault(*pair)
        else:
            plain.append(pair)
    return Message(tuple(plain), message.body, message.trailers), annotations


def _facts(annotations: Mapping[str, bytes]) -> dict[str, str]:
    """Return those facts that are told and not empty."""
    told = {_FACT_OF[name]: _text(annotations, name) for name in annotations if name in _FACT_OF}
    return {name: text for name, text in told.items() if text}


def _time_s(annotations: Mapping[str, bytes]) -> float | None:
    value = annotations.get(TIME, b"")
    return int(value) / 1e6 if _TIME_US.fullmatch(value) else None


def _text(annotations: Mapping[str, bytes], name: str) -> str:
    return annotations.get(name, b"")[:_MAX_CHARS].decode(errors="backslashreplace")
