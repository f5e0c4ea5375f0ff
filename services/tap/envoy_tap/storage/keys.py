"""The key file, and what is derived of it: it wraps the data key of each session, and nothing is stored under it.

The file holds 32 bytes in base64, as `openssl rand -base64 32` writes them. More lines are older keys, which only
unwrap.
"""

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE_NAME = "tap.key"
KEY_BYTES = 32
_NONCE_BYTES = 12
_MAX_FILE_BYTES = 4096


class SealError(OSError):
    """What was stored cannot be opened with this key: it was changed, or written with another one."""


class Sealer:
    """Encrypts by AES-256-GCM under one key, with a random nonce before each text; from any thread.

    *place* says where a text belongs, so that one cannot stand for another.
    """

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, text: bytes, place: str) -> bytes:
        """Return *text* encrypted."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, text, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Return what was sealed at *place*; raises SealError."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError):
            raise SealError(f"{place} cannot be decrypted with this key") from None


class Keys:
    """The keys of a key file, newest first."""

    def __init__(self, *masters: bytes) -> None:
        self._masters = masters
        self._wrapping = [Sealer(_derived(master, "wrap")) for master in masters]

    def derived(self, purpose: str) -> bytes:
        """Return 32 bytes for *purpose*, of the newest key."""
        return self.all_derived(purpose)[0]

    def all_derived(self, purpose: str) -> Sequence[bytes]:
        """Return 32 bytes for *purpose* of each key, newest first."""
        return [_derived(master, purpose) for master in self._masters]

    def new_data_key(self, session_id: str) -> tuple[Sealer, bytes]:
        """Return a new data key for a session, and the same wrapped, to be stored."""
        key = AESGCM.generate_key(KEY_BYTES * 8)
        return Sealer(key), self._wrapping[0].seal(key, _place(session_id))

    def data_key(self, session_id: str, wrapped: bytes) -> Sealer:
        """Return a session's data key; raises SealError."""
        for wrapping in self._wrapping:
            with suppress(SealError):
                return Sealer(wrapping.open(wrapped, _place(session_id)))
        raise SealError(f"session {session_id}: its key was not wrapped by this key file")


def read_keys(path: Path, *, make: bool) -> Keys:
    """Return the keys of a file; with *make* one is made with mode 0600 if there is none.

    Raises OSError for a file that is missing, is not an ordinary one, that others may read, or that holds no key.
    """
    if make:
        _made(path)
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is not an ordinary file")
        if found.st_mode & stat.S_IROTH:
            raise OSError(
                f"{path} can be read by everyone; chmod o-rwx it, or mount it with defaultMode 0440"
            )
        text = os.read(file, _MAX_FILE_BYTES)
    finally:
        os.close(file)
    return Keys(*(_decoded(line, path) for line in text.split() or [b""]))


def _made(path: Path) -> None:
    with suppress(FileExistsError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(file, 0o600)
            os.write(file, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            os.fsync(file)
        finally:
            os.close(file)


def _decoded(line: bytes, path: Path) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise OSError(
            f"{path} does not hold keys of {KEY_BYTES} bytes in base64; openssl rand -base64 {KEY_BYTES} makes one"
        )
    return key


def _derived(master: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"envoy-tap {purpose}".encode()).derive(master)


def _place(session_id: str) -> str:
    return f"{session_id}/key"
