"""Where a server listens: `HOST:PORT` or `unix:PATH`."""

from dataclasses import dataclass
from typing import Self

_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A listening address: TCP `host` and `port` (0 to 65535; 0 picks a free one), or a Unix socket's `path`."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HOST:PORT` (an IPv6 host in brackets) or `unix:PATH`; ValueError says what is wrong."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            path = path.removeprefix("//") if path.startswith("///") else path
            if not path:
                raise ValueError("unix: needs a path, as in unix:/run/envoy/authz.sock")
            return cls(path=path)
        host, colon, port = text.rpartition(":")
        if not colon or not host:
            raise ValueError(f"{text!r} is not HOST:PORT or unix:PATH, as in 127.0.0.1:9191")
        if not (port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
            raise ValueError(f"{port!r} is not a port: a number from 0 to {_MAX_PORT} is needed")
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError(f"{host!r} holds a colon: write an IPv6 host in brackets, as in [::1]:9191")
        return cls(host=host.strip("[]"), port=int(port))

    @property
    def is_unix(self) -> bool:
        """Whether this is a Unix socket."""
        return bool(self.path)

    @property
    def url(self) -> str:
        """What a person opens: `http://HOST:PORT`, or the socket's own form."""
        return str(self) if self.is_unix else f"http://{self}"

    def __str__(self) -> str:
        if self.is_unix:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
