"""Content and transfer codings taken off, within bounds: a small body can hold a very large one."""

import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import brotli
import zstandard

# RFC 9659: what a window may be at most for a content coding.
_ZSTD_WINDOW_BYTES = 8 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_MEMBER = 31
_ZLIB_OR_GZIP = 47
_RAW = -15
_PIECE_BYTES = 16 << 10
_MOST_MEMBERS = 1000


@dataclass(frozen=True, slots=True)
class Opened:
    """What was inside; `complete`: all of it, as the coding itself says, and no more was there than was asked for."""

    data: bytes
    complete: bool


def opened(body: bytes, coding: str, most_bytes: int) -> Opened | None:
    """Return at most *most_bytes* of what is inside *body*; None for a coding that is not known or does not fit.

    A body that was cut off gives what can be had of it. Known are gzip, deflate (also without its zlib wrapper,
    which RFC 9110, 8.4.1.2 says to expect), br and zstd.
    """
    unpack = _CODINGS.get(coding)
    try:
        return unpack(body, most_bytes) if unpack else None
    except (zlib.error, brotli.error, zstandard.ZstdError, EOFError):
        return None


def listed(value: bytes) -> tuple[str, ...]:
    """Return the codings of a content-encoding header in the order in which they were applied, without identity."""
    names = (name.strip().lower() for name in value.decode("latin-1").split(","))
    return tuple(name for name in names if name and name != "identity")


def dechunked(body: bytes) -> Opened | None:
    """Return what HTTP/1.1 chunks hold (RFC 9112, 7.1); None for what is not chunked from its beginning on."""
    found, at = bytearray(), 0
    while size := _CHUNK_SIZE.match(body, at):
        length, at = int(size[1], 16), size.end()
        if length == 0:
            return Opened(bytes(found), complete=True)
        found += body[at : at + length]
        if at + length + 2 > len(body):
            return Opened(bytes(found), complete=False)
        at += length + 2
        if body[at - 2 : at] != b"\r\n":
            return None
    # What is left is the beginning of a size, or was never one.
    is_cut = bool(found) and re.fullmatch(rb"[0-9a-fA-F]{0,8}\r?", body[at:]) is not None
    return Opened(bytes(found), complete=False) if is_cut else None


def _gzip(body: bytes, most_bytes: int) -> Opened | None:
    if not body.startswith(_GZIP_MAGIC):
        return None
    found, at = bytearray(), 0
    # Members may follow each other (RFC 1952, 2.2); what follows otherwise is padding.
    for _ in range(_MOST_MEMBERS):
        member = zlib.decompressobj(_MEMBER)
        while not member.eof:
            piece = body[at : at + _PIECE_BYTES]
            if not piece or len(found) == most_bytes:
                return Opened(bytes(found), complete=False)
            found += member.decompress(piece, most_bytes - len(found))
            at += len(piece) - len(member.unconsumed_tail) - len(member.unused_data)
        if not body.startswith(_GZIP_MAGIC, at):
            return Opened(bytes(found), complete=True)
    return Opened(bytes(found), complete=False)


def _deflate(body: bytes, most_bytes: int) -> Opened | None:
    for window_bits in (_ZLIB_OR_GZIP, _RAW):
        stream = zlib.decompressobj(window_bits)
        try:
            return Opened(stream.decompress(body, max(1, most_bytes)), complete=stream.eof)
        except zlib.error:
            continue
    return None


def _brotli(body: bytes, most_bytes: int) -> Opened:
    stream = brotli.Decompressor()
    found, given = bytearray(), body
    while len(found) < most_bytes:
        piece = stream.process(given, output_buffer_limit=most_bytes - len(found))
        found += piece
        given = b""
        if stream.is_finished() or (not piece and stream.can_accept_more_data()):
            break
    complete = stream.is_finished() and len(found) <= most_bytes
    return Opened(bytes(found[:most_bytes]), complete=complete)


def _zstd(body: bytes, most_bytes: int) -> Opened:
    source = io.BytesIO(body)
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(
        source, read_across_frames=True
    )
    found = reader.read(most_bytes)
    more = reader.read(1) if len(found) == most_bytes else b""
    # The reader does not say whether a frame has ended; the first frame's header does, where the sender knew.
    return Opened(found, complete=not more and len(found) >= zstandard.frame_content_size(body))


_CODINGS: dict[str, Callable[[bytes, int], Opened | None]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
