"""Applies redaction rules to whole messages and exchanges."""

import hashlib
import hmac
import re
from dataclasses import replace
from functools import lru_cache

from envoy_tap.core.decode.codings import Opened, listed, opened
from envoy_tap.core.exchange import Exchange, Message, Pairs, SocketEvent
from envoy_tap.core.predicate.evaluator import joined
from envoy_tap.core.redaction.editor import Replace, Steps, TooMuchError
from envoy_tap.core.redaction.framed import edit_messages, fitted, hide_message, is_framed
from envoy_tap.core.redaction.json_text import hide_json, json_paths
from envoy_tap.core.redaction.names import Names, Within, edit_parts, hide_form, hide_parts, hide_query
from envoy_tap.core.redaction.patterns import hide_patterns
from envoy_tap.core.redaction.rules import MASK, Redaction, Style, spellings

URL_HEADERS = frozenset(
    {
        ":path",
        "content-location",
        "location",
        "referer",
        "x-envoy-original-path",
        "x-forwarded-uri",
        "x-original-uri",
        "x-original-url",
        "x-rewrite-url",
    }
)
"""Headers whose whole value is a URL."""
WITHHELD = b"[redacted: a body in content-encoding %s cannot be looked into]"
TOO_MUCH = b"[redacted: there is too much in this body to be looked into]"
_PLACEHOLDER = re.compile(rb"\[redacted\]|\[hmac:[0-9a-f]{16}\]")
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\n\v\f\r]*[{\[]")
_MAX_OPENED_BYTES = 16 << 20
_MAX_CODINGS = 2
# At which URLs, forms, addresses, escapes and parts are looked for.
_SIGNS = b"&?#=@;%\\\xc2"
_DIGITS = b"0123456789"
_DIGITS_A_PLACE = 8
# One to four seconds' work.
_MOST_PLACES = 1 << 19
_PLACES_A_STEP = 4
# What no text has.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


class Redactor:
    """Redacts by *rules*; *never_headers* (lower case) are masked whatever the style. *key* is for placeholders.

    At most *most_opened_bytes* of a compressed body are opened: a few kilobytes can hold gigabytes.
    """

    def __init__(
        self,
        rules: Redaction,
        never_headers: frozenset[str],
        key: bytes,
        *,
        most_opened_bytes: int = _MAX_OPENED_BYTES,
    ) -> None:
        self._rules = rules
        self._never = never_headers
        self._most_opened_bytes = most_opened_bytes
        self._replace: Replace = _masked if rules.style is Style.MASK else _placeholders(key)
        self._query = _encoded(rules.query)
        self._names = _encoded(rules.names)
        self._paths = json_paths(sorted(rules.paths))
        names = b"|".join(re.escape(name.encode()) for name in sorted(rules.headers))
        self._lines = re.compile(rb"(?im)^((?:%s):[ \t]*)([^\r\n]+)" % names) if names else None

    def redacted(self, exchange: Exchange) -> Exchange:
        """Return *exchange* as it may be stored; truncated, if that is less than a compressed body holds."""
        cut = exchange.truncated
        request, is_request_cut = self._half(exchange.request, cut=cut)
        response, is_response_cut = self._half(exchange.response, cut=cut)
        return replace(
            exchange,
            request=request,
            response=response,
            truncated=cut or is_request_cut or is_response_cut,
            socket=None if exchange.socket is None else tuple(map(self._event, exchange.socket)),
        )

    def message(self, message: Message, *, cut: bool = False) -> Message:
        """Return *message* as it may be stored; *cut*: its body may go on."""
        return self._half(message, cut=cut)[0] or message

    def _half(self, message: Message | None, *, cut: bool) -> tuple[Message | None, bool]:
        """Return *message* as it may be stored, and whether more is in its body than that."""
        if message is None:
            return None, False
        encoding = (joined(message.headers, "content-encoding") or b"").lower()
        body, is_all = message.body, True
        if body and encoding not in {b"", b"identity"}:
            plain = _inflated(body, encoding, self._most_opened_bytes)
            body, is_all = (WITHHELD % encoding[:40], True) if plain is None else (plain.data, plain.complete)
        content_type = joined(message.headers, "content-type") or b""
        hidden = self.body(body, content_type, cut=cut or not is_all)
        return Message(self._pairs(message.headers), hidden, self._pairs(message.trailers)), not is_all

    def header(self, name: str, value: bytes) -> bytes:
        """Return *value* as it may be stored; *name* in lower case."""
        if name in self._never:
            return MASK
        if name in self._rules.headers:
            return self._replace(value)
        within = Within.URL if name in URL_HEADERS else Within.TEXT
        return hide_patterns(
            hide_query(value, self._query, self._replace, within), self._rules.patterns, self._replace
        )

    def body(self, body: bytes, content_type: bytes, *, cut: bool = False) -> bytes:
        """Return *body*, which is in no content encoding, as it may be stored."""
        try:
            return self._body(body, content_type.lower(), Steps(), cut=cut)
        except TooMuchError:
            return TOO_MUCH

    def _body(self, body: bytes, content_type: bytes, steps: Steps, *, cut: bool) -> bytes:
        if _is_too_much(body, _SIGNS + b"\n" if b"multipart/" in content_type else _SIGNS):
            raise TooMuchError
        if is_framed(content_type):
            return self._framed(body, content_type, steps, cut=cut)
        return self._plain(body, content_type, steps, cut=cut)

    def _framed(self, body: bytes, content_type: bytes, steps: Steps, *, cut: bool) -> bytes:
        masked = fitted(self._replace)

        def everywhere(data: bytes, is_cut: bool) -> bytes:
            return hide_patterns(data, self._rules.patterns, masked, cut=is_cut)

        def hide(data: bytes, is_cut: bool) -> bytes:
            # Messages in messages are looked over as often as they are deep.
            steps.take((len(data) - len(data.translate(None, _SIGNS))) // _PLACES_A_STEP)
            return everywhere(hide_query(data, self._query, masked), is_cut)

        def either(data: bytes, is_cut: bool) -> bytes:
            # In what is surely no text, a parameter's value would go on over the fields that follow.
            return (everywhere if _BINARY.search(data) else hide)(data, is_cut)

        def edited(data: bytes, is_cut: bool, missing: int) -> bytes:
            if b"json" in content_type:
                return self._plain(data, content_type, steps, cut=is_cut)
            return hide_message(data, hide, either, steps, cut=is_cut, missing=missing)

        return edit_messages(body, edited, cut=cut)

    def _plain(self, body: bytes, content_type: bytes, steps: Steps, *, cut: bool) -> bytes:
        within = Within.TEXT
        if b"json" in content_type:
            body = self._json(body, steps, declared=True)
        else:
            if b"x-www-form-urlencoded" in content_type:
                body = hide_form(hide_form(body, self._names, self._replace), self._query, self._replace)
                within = Within.FORM
            elif b"multipart/" in content_type:
                body = edit_parts(
                    hide_parts(body, self._names, self._replace), lambda part: self._json(part, steps)
                )
            # Whatever it is declared as: `curl -d` says form of all that it sends.
            if _JSON_START.match(body):
                body = self._json(body, steps)
                within = Within.TEXT
        body = hide_query(body, self._query, self._replace, within)
        return hide_patterns(body, self._rules.patterns, self._replace, cut=cut)

    def _json(self, text: bytes, steps: Steps, *, declared: bool = False) -> bytes:
        return hide_json(text, self._names, self._paths, self._replace, steps, declared=declared)

    def _event(self, event: SocketEvent) -> SocketEvent:
        """Return *event* as it may be stored: in text, each piece by itself; in other bytes nothing can be known."""
        data = event.data
        if _BINARY.search(data):
            return event
        if self._lines is not None:
            data = self._lines.sub(lambda found: found[1] + self._replace(found[2]), data)
        return replace(event, data=self.body(data, b""))

    def _pairs(self, pairs: Pairs) -> Pairs:
        return tuple((name, self.header(name.lower(), value)) for name, value in pairs)


def _is_too_much(body: bytes, signs: bytes) -> bool:
    """Whether *body* has so many places, such as *signs*, that looking at all of them takes too long."""
    if len(body) <= _MOST_PLACES:
        return False
    places = len(body) - len(body.translate(None, signs))
    digits = len(body) - len(body.translate(None, _DIGITS))
    starts = body.count(b"//") + body.count(b"eyJ")
    return places + starts + digits // _DIGITS_A_PLACE > _MOST_PLACES


def _masked(_value: bytes) -> bytes:
    return MASK


def _placeholders(key: bytes) -> Replace:
    def replaced(value: bytes) -> bytes:
        if _PLACEHOLDER.fullmatch(value):
            return value
        return b"[hmac:%s]" % hmac.new(key, value, hashlib.sha256).hexdigest()[:16].encode()

    return replaced


def _inflated(body: bytes, encoding: bytes, most_bytes: int) -> Opened | None:
    """Return at most *most_bytes* of *body* in clear, as far as it was captured; None if its encoding is not known here."""
    codings = listed(encoding)
    if len(codings) > _MAX_CODINGS:
        return None
    is_all = True
    for coding in reversed(codings):
        found = opened(body, coding, most_bytes)
        if found is None:
            return None
        body, is_all = found.data, is_all and found.complete
    return Opened(body, is_all)


@lru_cache(maxsize=64)
def _encoded(names: frozenset[str]) -> Names:
    return frozenset(name.encode() for name in spellings(names))
