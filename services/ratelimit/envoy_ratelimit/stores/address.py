"""A store's URL: which servers, by which topology, with which login and TLS."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

Topology = Literal["single", "sentinel", "cluster"]

SUPPORTED = (
    "memory:, redis://HOST:PORT/DB, unix:///PATH/TO/SOCKET, redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB or "
    "redis+cluster://HOST:PORT,HOST:PORT (rediss for TLS)"
)
_TOPOLOGIES: Mapping[str, Topology] = {"": "single", "sentinel": "sentinel", "cluster": "cluster"}
_DEFAULT_PORT = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_OPTIONS = ("db", "password_file", "ssl_ca_certs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password", "sentinel_password_file")
_KNOWN = frozenset({*_OPTIONS, *_SENTINEL_OPTIONS})
_SHOWN = _KNOWN - {"sentinel_password"}
"""What may be shown of the options; another may be a secret, by a name that is not ours."""
_NO_PAIR = "no certificate with its key, in PEM and without a passphrase"
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class FileError(Exception):
    """A file of an option cannot be used; the message names both."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server: a host and port, or the `path` of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the server's ACL, or only a password; the file is read at each connection, so it may be renewed."""

    user: str = ""
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    file_option: str = "password_file"
    """The option that names the file."""

    def secret(self) -> str:
        """Return the password. Raises FileError."""
        if self.password_file is None:
            return self.password
        try:
            return _content(self.file_option, self.password_file).decode().strip()
        except UnicodeDecodeError:
            raise FileError(f"{self.file_option}={self.password_file} is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class Tls:
    """What the server must prove, and what we prove to it; without `ca`, the system's certificates."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    check_hostname: bool = True

    def require_files(self) -> None:
        """Raise FileError if one cannot be used: OpenSSL would not say which, and ask a terminal for a passphrase."""
        files = (("ssl_ca_certs", self.ca), ("ssl_certfile", self.certificate), ("ssl_keyfile", self.key))
        for option, file in files:
            if file is not None:
                _content(option, Path(file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except ssl.SSLError:
                raise FileError(f"ssl_ca_certs={self.ca} holds no certificate") from None
        if self.certificate is not None:
            given = f"ssl_certfile={self.certificate}"
            try:
                context.load_cert_chain(self.certificate, self.key, password="")
            except ssl.SSLError as error:
                if self.key is not None:
                    given += f" and ssl_keyfile={self.key}"
                what = "the key is another's" if error.reason == "KEY_VALUES_MISMATCH" else _NO_PAIR
                raise FileError(f"{given}: {what}") from None


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where buckets are: `servers` are the one server, the Sentinels, or some nodes of the cluster."""

    topology: Topology
    servers: tuple[Endpoint, ...]
    db: int = 0
    login: Login = Login()
    tls: Tls | None = None
    service: str = ""
    """What the Sentinels call the primary."""
    sentinel_login: Login = Login()


def parse_address(url: str) -> StoreAddress:
    """Return what *url* names. Raises ValueError, which repeats no secret."""
    scheme, colon, _ = url.partition(":")
    base, _, kind = scheme.partition("+")
    if not colon or base not in {"redis", "rediss", "unix"} or kind not in _TOPOLOGIES:
        raise ValueError(f"it is not supported: write {SUPPORTED}")
    topology = _TOPOLOGIES[kind]
    parts = urlsplit(url)
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    options = _options(parts.query, topology)
    address = StoreAddress(
        topology,
        (),
        login=Login(unquote(user), unquote(password), _path(options.get("password_file"))),
        tls=_tls(options, base),
    )
    if base == "unix":
        if hosts or kind or not parts.path:
            raise ValueError("write unix:///PATH/TO/SOCKET")
        return replace(address, servers=(Endpoint(path=unquote(parts.path)),), db=_db(options.get("db", "")))
    servers = tuple(_endpoint(host, _DEFAULT_PORT[topology]) for host in hosts.split(","))
    path = parts.path.strip("/")
    if topology == "single" and len(servers) > 1:
        raise ValueError("several servers need redis+cluster:// or redis+sentinel://")
    if topology == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ValueError(
                "the name of the service is missing: write redis+sentinel://HOST:PORT/SERVICE/DB"
            )
        address = replace(address, service=unquote(service), sentinel_login=_sentinel_login(options))
    db = _db(options.get("db") or path)
    if db and topology == "cluster":
        raise ValueError("a cluster has only database 0")
    return replace(address, servers=servers, db=db)


def masked_url(url: str) -> str:
    """Return a store's URL as it may be shown: without user, password, and secrets among its options.

    Where an `@` stands after the servers (`redis:/u:secret@host`, a password with a `/` in it), all before it may be
    part of a secret; where it stands after a `?`, that may be in a password or in an option's value, so all may be.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition(":")[0] + ":"
    user, at, hosts = parts.netloc.rpartition("@")
    shown = url.replace(user + at, "***@", 1) if at else url
    given = parse_qsl(parts.query, keep_blank_values=True)
    if "@" in parts.path + parts.fragment:
        if parts.query and "@" in parts.query + parts.fragment:
            return f"{parts.scheme}:***"
        return f"***@{url.rpartition('@')[2].partition('?')[0]}"
    if "@" in parts.query and any(name not in _KNOWN for name, _ in given):
        return f"{parts.scheme}:***"
    if all(name in _SHOWN for name, _ in given):
        return shown
    options = [(name, value if name in _SHOWN else "***") for name, value in given]
    netloc = f"***@{hosts}" if at else hosts
    return urlunsplit((parts.scheme, netloc, parts.path, urlencode(options, safe="*/"), ""))


def _options(query: str, topology: Topology) -> dict[str, str]:
    known = (*_OPTIONS, *_SENTINEL_OPTIONS) if topology == "sentinel" else _OPTIONS
    options = dict(parse_qsl(query))
    for name in options:
        if name not in known:
            raise ValueError(f"{name!r} is not one of its options: {', '.join(known)}")
    return options


def _tls(options: Mapping[str, str], scheme: str) -> Tls | None:
    if scheme == "rediss":
        if "ssl_keyfile" in options and "ssl_certfile" not in options:
            raise ValueError("ssl_keyfile is the key of ssl_certfile, which is missing")
        return Tls(
            options.get("ssl_ca_certs"),
            options.get("ssl_certfile"),
            options.get("ssl_keyfile"),
            _boolean(options, "ssl_check_hostname"),
        )
    if any(name.startswith("ssl_") for name in options):
        raise ValueError("ssl_… options need a rediss scheme")
    return None


def _sentinel_login(options: Mapping[str, str]) -> Login:
    return Login(
        options.get("sentinel_username", ""),
        options.get("sentinel_password", ""),
        _path(options.get("sentinel_password_file")),
        "sentinel_password_file",
    )


def _endpoint(text: str, default_port: int) -> Endpoint:
    try:
        parts = urlsplit("//" + text)
        return Endpoint(parts.hostname or "localhost", parts.port or default_port)
    except ValueError:
        raise ValueError("a server is written HOST:PORT, with a port up to 65535") from None


def _content(option: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise FileError(f"{option}={file} cannot be read: {error.strerror or error}") from None


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _boolean(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "true")
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"{name} is true or false")
    return _BOOLEANS[text.lower()]


def _db(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise ValueError("a database is a number, as in redis://HOST:PORT/0")
    return int(text)
