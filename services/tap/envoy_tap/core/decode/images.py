"""Raster images, recognised by their first bytes: what they are declared as proves nothing."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
)
_DECLARED_ONLY = frozenset({"image/bmp", "image/x-icon"})


def image_type(data: bytes, media_type: str) -> str:
    """Return the media type of the image that *data* is, "" if it is none that is known.

    Signatures of two or four bytes count only where *media_type*, as declared, says image as well.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] in {b"ftypavif", b"ftypavis"}:
        return "image/avif"
    found = next((name for signature, name in _SIGNATURES if data.startswith(signature)), "")
    return "" if found in _DECLARED_ONLY and not media_type.startswith("image/") else found
