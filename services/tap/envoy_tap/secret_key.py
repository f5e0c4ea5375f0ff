"""The key of placeholders: made once, for this user only, and kept, so that equal secrets stay equal."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

FILE_NAME = "placeholder.key"
_KEY_BYTES = 32


def secret_key(folder: Path) -> bytes:
    """Return the key in *folder*, made if there is none; raises OSError."""
    path = folder / FILE_NAME
    with suppress(FileExistsError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.write(file, secrets.token_bytes(_KEY_BYTES))
        finally:
            os.close(file)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise OSError(f"{path} is not a key of {_KEY_BYTES} bytes; remove it, and another one is made")
    return key
