"""The reference's environment variables, as options of ours: so a deployment swaps only the image.

Here is what becomes options, in `migrate_notes` what is to be said of all others. Defaults are the reference's too, once the environment is recognized as its.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from envoy_ratelimit.migrate_notes import NEEDS, NOTES, READ, USUAL, Kind, is_unknown
from envoy_ratelimit.migrate_store import store_url
from envoy_ratelimit.stores import masked_url

Environment = Mapping[str, str]

SIGNS = frozenset(
    {
        "BACKEND_TYPE",
        "CONFIG_TYPE",
        "REDIS_SOCKET_TYPE",
        "REDIS_TYPE",
        "RUNTIME_APPDIRECTORY",
        "RUNTIME_ROOT",
        "RUNTIME_SUBDIRECTORY",
        "USE_STATSD",
    }
)
"""Any of these tells that an environment was written for the reference; PORT or LOG_LEVEL alone could be anybody's."""
SECRET = frozenset(
    {
        "REDIS_AUTH",
        "REDIS_PERSECOND_AUTH",
        "REDIS_SENTINEL_AUTH",
        "REDIS_PERSECOND_SENTINEL_AUTH",
        "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS",
    }
)
_OFF = "it is off, and here there is nothing to turn off"
_FORCE_START = "FORCE_START_WITHOUT_INITIAL_CONFIG"
_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})
_FILE_NOTE = "the file is the password alone: a user in it goes into the URL, as in redis://USER@HOST:PORT"
_MASK = "***"
STORES = frozenset({"store", "store_per_second"})
"""Options whose values are URLs of stores."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What variables come to.

    `option` and `values` are ours (`store`, one or more values), or the option is empty where there is none. `variables`
    are those that were looked at and set, `kind` says how far ours does the same, and `note` what differs.
    """

    variables: tuple[str, ...]
    option: str = ""
    values: tuple[str, ...] = ()
    kind: Kind = "same"
    note: str = ""
    secret: bool = False

    @property
    def shown(self) -> str:
        """The values, as they may be shown."""
        if self.option in STORES:
            return " ".join(map(masked_url, self.values))
        return _MASK if self.secret else " ".join(self.values)


def is_reference(environment: Environment) -> bool:
    """Tell whether *environment* was written for the reference."""
    return not SIGNS.isdisjoint(environment)


def translate(
    environment: Environment, supported: Collection[str], *, written_for_it: bool = False
) -> list[Mapped]:
    """Return what *environment* means; nothing if it was not written for the reference.

    *supported* are the names of our options (`store_timeout`); what maps to another one is `unsupported`. What is not
    known is `unknown`: all of it if the environment was *written for it* alone, else what is named as the reference's.
    """
    if not is_reference(environment):
        return []
    found = [mapped for rule in _RULES for mapped in rule(environment)]
    named = {name for mapped in found for name in mapped.variables}
    found.extend(
        _said(environment, name)
        for name in (*NOTES, *sorted(READ))
        if environment.get(name) and name not in named
    )
    found.extend(
        Mapped((name,), kind="unknown", note="not understood")
        for name in sorted(environment)
        if environment[name] and is_unknown(name, written_for_it=written_for_it)
    )
    return [_checked(mapped, supported) for mapped in found]


def _said(environment: Environment, name: str) -> Mapped:
    """Say what a variable means that became no option. Its value is not shown: it may be a secret."""
    if environment[name].strip().lower() in _FALSE:
        return Mapped((name,), kind="ignored", note=_OFF)
    for beginning, other, wanted in NEEDS:
        if name.startswith(beginning):
            if other and not _has(environment, other, wanted):
                return Mapped((name,), kind="ignored", note=f"it means nothing without {other}={wanted}")
            break
    if name in NOTES:
        kind, note = NOTES[name]
        return Mapped((name,), kind=kind, note=note)
    return Mapped((name,), kind="unsupported", note="its value is not understood")


def _has(environment: Environment, name: str, wanted: str) -> bool:
    value = environment.get(name, "") or USUAL.get(name, "")
    return is_true(value) if wanted == "true" else value.lower() == wanted.lower()


def notes(translated: Collection[Mapped]) -> list[str]:
    """Return what the log is to say: what differs, and what cannot be honoured."""
    return [
        f"{', '.join(mapped.variables) or '--' + mapped.option.replace('_', '-')}: {mapped.note}"
        for mapped in translated
        if mapped.kind in {"differs", "unsupported", "unknown"}
    ]


def _checked(mapped: Mapped, supported: Collection[str]) -> Mapped:
    if not mapped.option or mapped.option in supported:
        return mapped
    note = f"needs --{mapped.option.replace('_', '-')}, which this version does not have"
    return replace(mapped, kind="unsupported", note=note)


def is_true(text: str) -> bool:
    """Read a boolean as Go's strconv.ParseBool does."""
    return text.strip().lower() in _TRUE


def _set(environment: Environment, *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if environment.get(name))


def _addresses(environment: Environment) -> list[Mapped]:
    uds = environment.get("GRPC_UDS", "")
    host, port = environment.get("GRPC_HOST", "0.0.0.0"), environment.get("GRPC_PORT", "8081")  # noqa: S104 - as there
    listen = f"unix:{uds}" if uds else f"{_bracketed(host)}:{port}"
    admin_host, admin_port = environment.get("HOST", "0.0.0.0"), environment.get("PORT", "8080")  # noqa: S104
    return [
        Mapped(_set(environment, "GRPC_UDS", "GRPC_HOST", "GRPC_PORT"), "listen", (listen,)),
        Mapped(_set(environment, "HOST", "PORT"), "admin", (f"{_bracketed(admin_host)}:{admin_port}",)),
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _source(environment: Environment) -> list[Mapped]:
    if environment.get("CONFIG_TYPE", "FILE").upper() == "GRPC_XDS_SOTW":
        return _xds(environment)
    names = _set(environment, "CONFIG_TYPE", "RUNTIME_ROOT", "RUNTIME_SUBDIRECTORY", "RUNTIME_APPDIRECTORY")
    parts = (
        environment.get("RUNTIME_ROOT", "/srv/runtime_data/current").rstrip("/"),
        environment.get("RUNTIME_SUBDIRECTORY", "").strip("/"),
        environment.get("RUNTIME_APPDIRECTORY", "config").strip("/"),
    )
    return [Mapped(names, "config", ("/".join(part for part in parts if part),))]


def _xds(environment: Environment) -> list[Mapped]:
    prefix = "CONFIG_GRPC_XDS_"
    found = [
        Mapped(
            _set(environment, "CONFIG_TYPE", f"{prefix}SERVER_URL"),
            "config_xds",
            (environment.get(f"{prefix}SERVER_URL", "localhost:18000"),),
        )
    ]
    metadata = [
        text.strip() for text in environment.get(f"{prefix}NODE_METADATA", "").split(",") if "=" in text
    ]
    headers = [
        text.replace(":", "=", 1).strip()
        for text in environment.get(f"{prefix}CLIENT_ADDITIONAL_HEADERS", "").split(",")
        if ":" in text
    ]
    tls = is_true(environment.get(f"{prefix}SERVER_USE_TLS", ""))
    if is_true(environment.get(_FORCE_START, "")):
        found.append(Mapped((_FORCE_START,), "config_xds_wait", ("0",)))
    options: dict[str, tuple[str, tuple[str, ...]]] = {
        "config_xds_node_id": (f"{prefix}NODE_ID", _one(environment.get(f"{prefix}NODE_ID", ""))),
        "config_xds_node_metadata": (f"{prefix}NODE_METADATA", tuple(metadata)),
        "config_xds_header": (f"{prefix}CLIENT_ADDITIONAL_HEADERS", tuple(headers)),
        "config_xds_tls": (f"{prefix}SERVER_USE_TLS", ("true",) if tls else ()),
    }
    if tls:
        for name, option in (
            ("SERVER_TLS_CACERT", "tls_ca"),
            ("CLIENT_TLS_CERT", "tls_cert"),
            ("CLIENT_TLS_KEY", "tls_key"),
            ("SERVER_TLS_SAN", "server_name"),
        ):
            value = _one(environment.get(prefix + name, ""))
            options[f"config_xds_{option}"] = (prefix + name, value)
    found.extend(
        Mapped((name,), option, values, secret=name in SECRET)
        for option, (name, values) in options.items()
        if values
    )
    return found


def _one(text: str) -> tuple[str, ...]:
    return (text,) if text else ()


def _stores(environment: Environment) -> list[Mapped]:
    backend = environment.get("BACKEND_TYPE", "redis").lower()
    if backend != "redis":
        # As with a Redis that can't be had: `serve` refuses it, and does not count in each process by itself.
        note = "there is no memcached store: give --store redis://…, or memory: for buckets in each process alone"
        return [Mapped(("BACKEND_TYPE",), "store", (f"{backend}:",), "unsupported", note)]
    found = [_store(environment, "REDIS", "store")]
    if is_true(environment.get("REDIS_PERSECOND", "")):
        found.append(_store(environment, "REDIS_PERSECOND", "store_per_second"))
    return found


def _store(environment: Environment, prefix: str, option: str) -> Mapped:
    url, names, trouble = store_url(environment, prefix)
    names = (*_set(environment, "BACKEND_TYPE"), *names)
    if trouble:
        # With the URL all the same: `serve` refuses it, and does not take the store that it has without any.
        return Mapped(names, option, (url,), "unsupported", trouble, secret="@" in url)
    if f"{prefix}_AUTH_FILE" in names:
        return Mapped(names, option, (url,), "differs", _FILE_NOTE, secret="@" in url)
    return Mapped(names, option, (url,), secret="@" in url)


def _behaviour(environment: Environment) -> list[Mapped]:
    note = "as the reference counts; --default-algorithm token_bucket spreads a limit evenly and is exact"
    found = [Mapped((), "default_algorithm", ("fixed_window",), note=note)]
    uncharged = [name for name in _UNCHARGED if environment.get(name)]
    on = [name for name in uncharged if environment[name].strip().lower() not in _FALSE]
    if on:
        note = "nobody who is refused is charged; the reference still charges the limit that refuses"
        found.append(Mapped(tuple(on), "default_charge", ("all_or_nothing",), "differs", note))
    found.extend(Mapped((name,), kind="ignored", note=_OFF) for name in uncharged if name not in on)
    for name, option in _FLAGS.items():
        if is_true(environment.get(name, "")):
            found.append(Mapped((name,), option, ("true",)))
    for name, option in _VALUES.items():
        if environment.get(name):
            found.append(Mapped((name,), option, (environment[name],)))
    if is_true(environment.get("LIMIT_RESPONSE_HEADERS_ENABLED", "")):
        found.append(Mapped(("LIMIT_RESPONSE_HEADERS_ENABLED",), "response_headers", ("draft",)))
        found.extend(
            Mapped((name,), option, (environment[name],))
            for name, option in _HEADERS.items()
            if environment.get(name)
        )
    if environment.get("LOG_LEVEL"):
        level = _LEVELS.get(environment["LOG_LEVEL"].lower(), "info")
        found.append(Mapped(("LOG_LEVEL",), "log_level", (level,)))
    if environment.get("LOG_FORMAT"):
        found.append(Mapped(("LOG_FORMAT",), "log_format", (environment["LOG_FORMAT"].lower(),)))
    if is_true(environment.get("GRPC_SERVER_USE_TLS", "")):
        found.extend(
            Mapped((name,), option, (environment[name],))
            for name, option in _TLS.items()
            if environment.get(name)
        )
    return found


_UNCHARGED = ("LOCAL_CACHE_SIZE_IN_BYTES", "STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT")
"""With either the reference does not charge what it refuses."""
_FLAGS = {
    "SHADOW_MODE": "shadow_mode",
    "RESPONSE_DYNAMIC_METADATA": "response_dynamic_metadata",
    "MERGE_DOMAIN_CONFIG": "merge_domains",
}
_VALUES = {"NEAR_LIMIT_RATIO": "near_limit_ratio", "CACHE_KEY_PREFIX": "store_key_prefix"}
_HEADERS = {
    "LIMIT_LIMIT_HEADER": "limit_header",
    "LIMIT_REMAINING_HEADER": "remaining_header",
    "LIMIT_RESET_HEADER": "reset_header",
}
_TLS = {
    "GRPC_SERVER_TLS_CERT": "tls_cert",
    "GRPC_SERVER_TLS_KEY": "tls_key",
    "GRPC_CLIENT_TLS_CACERT": "tls_client_ca",
}
_LEVELS = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "fatal": "error",
    "panic": "error",
}
_RULES: tuple[Callable[[Environment], list[Mapped]], ...] = (_addresses, _source, _stores, _behaviour)
