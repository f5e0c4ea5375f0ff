"""WebSocket frames of one direction (RFC 6455, 5.2), as far as they go."""

from envoy_tap.core.decode.layout import hexdump
from envoy_tap.core.decode.model import Frame, Room, WebSocket

_OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_FINAL, _RSV1, _OPCODE = 0x80, 0x40, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_SIZES = {126: 2, 127: 8}
_HEAD_BYTES = 2
_KEY_BYTES = 4


def read_frames(body: bytes, room: Room) -> tuple[WebSocket, list[str]]:
    """Return the frames of *body* and what is to be noted. RSV1 is taken for permessage-deflate (RFC 7692)."""
    frames: list[Frame] = []
    at = 0
    while at < len(body):
        found = _frame(body, at, room) if room.has_item else None
        if found is None:
            break
        room.take_item()
        frame, at = found
        frames.append(frame)
    notes = []
    if at < len(body):
        notes.append(f"{len(body) - at} more bytes are not shown as frames")
    elif frames and not frames[-1].complete:
        notes.append("the last frame is cut off")
    return WebSocket(tuple(frames)), notes


def _frame(body: bytes, at: int, room: Room) -> tuple[Frame, int] | None:
    head = body[at : at + _HEAD_BYTES]
    if len(head) < _HEAD_BYTES:
        return None
    opcode, at = head[0] & _OPCODE, at + _HEAD_BYTES
    size_bytes = head[1] & _LENGTH
    if size_bytes in _SIZES:
        wide = _SIZES[size_bytes]
        size_bytes = int.from_bytes(body[at : at + wide], "big")
        at += wide
    key = body[at : at + _KEY_BYTES] if head[1] & _MASKED else b""
    at += _KEY_BYTES if head[1] & _MASKED else 0
    if at > len(body):
        return None
    data = body[at : at + size_bytes]
    complete, compressed = len(data) == size_bytes, bool(head[0] & _RSV1)
    text, dump = _shown(_unmasked(data, key), opcode, room, is_text=complete and not compressed)
    name = _OPCODES.get(opcode, f"opcode {opcode}")
    frame = Frame(name, bool(head[0] & _FINAL), size_bytes, compressed, complete, text, dump)
    return frame, at + len(data)


def _shown(data: bytes, opcode: int, room: Room, *, is_text: bool) -> tuple[str, str]:
    if is_text and opcode == 1:
        try:
            return room.take_text(data.decode())[0], ""
        except UnicodeDecodeError:
            pass
    return "", room.take_text(hexdump(data, room.limits.hexdump_bytes))[0]


def _unmasked(data: bytes, key: bytes) -> bytes:
    if not key or not data:
        return data
    mask = (key * (len(data) // _KEY_BYTES + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(data), "big")
