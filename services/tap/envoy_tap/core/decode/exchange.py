"""Both bodies of an exchange, read with what each half says about the other."""

from dataclasses import dataclass

from envoy_tap.core.decode.body import Context, read_body
from envoy_tap.core.decode.model import Body, Limits, Room, Schema
from envoy_tap.core.events import Side
from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.predicate.evaluator import joined

_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Decoded:
    """The bodies of an exchange; None for a half that was not captured."""

    request: Body | None
    response: Body | None


def decoded(exchange: Exchange, schema: Schema | None = None, limits: Limits = _LIMITS) -> Decoded:
    """Return the bodies of *exchange* as people read them; *schema* knows gRPC messages.

    Pure, bounded in time and memory by *limits*, and never raises for what a peer can send.
    """
    upgraded = _is_websocket(exchange.request, exchange.response)
    path = ((exchange.request and exchange.request.first(":path")) or b"").decode("latin-1")

    def read(message: Message | None, side: Side) -> Body | None:
        context = Context(side, path, upgraded, exchange.truncated, schema)
        # A room each, so that a large request does not hide the response.
        return None if message is None else read_body(message, context, Room(limits))

    return Decoded(read(exchange.request, Side.REQUEST), read(exchange.response, Side.RESPONSE))


def _is_websocket(request: Message | None, response: Message | None) -> bool:
    """Whether frames follow: HTTP/1.1's upgrade (RFC 6455, 4.2.2), or an extended CONNECT (RFC 8441) that was let in."""
    if request is None or response is None:
        return False
    upgrade = (joined(request.headers, "upgrade") or request.first(":protocol") or b"").strip().lower()
    return upgrade == b"websocket" and response.first(":status") in {b"101", b"200"}
