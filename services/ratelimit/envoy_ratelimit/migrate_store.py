"""The reference's REDIS_* variables, as the URL of a store."""

from collections.abc import Mapping
from urllib.parse import quote, unquote, urlencode

_TRUE = frozenset({"1", "t", "true"})
_FILES = {
    "REDIS_TLS_CACERT": "ssl_ca_certs",
    "REDIS_TLS_CLIENT_CERT": "ssl_certfile",
    "REDIS_TLS_CLIENT_KEY": "ssl_keyfile",
}
_DEFAULT_URL = {
    "REDIS": "/var/run/nutcracker/ratelimit.sock",
    "REDIS_PERSECOND": "/var/run/nutcracker/ratelimitpersecond.sock",
}
StoreUrl = tuple[str, tuple[str, ...], str]
"""(the URL, the variables it was made of, and what is wrong with them; then no store is there that has the URL)."""


def store_url(environment: Mapping[str, str], prefix: str) -> StoreUrl:
    """Return the store that the variables of *prefix* (REDIS, REDIS_PERSECOND) mean."""
    suffixes = ("URL", "TYPE", "AUTH", "AUTH_FILE", "TLS", "SOCKET_TYPE", "SENTINEL_AUTH")
    names = [f"{prefix}_{suffix}" for suffix in suffixes] + ([prefix] if prefix != "REDIS" else [])
    tls = _is_true(environment.get(f"{prefix}_TLS", ""))
    if tls:
        names += [*_FILES, "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION"]
    found = tuple(name for name in names if environment.get(name))
    target = environment.get(f"{prefix}_URL", "") or _DEFAULT_URL[prefix]
    kind = environment.get(f"{prefix}_TYPE", "SINGLE").lower()
    login = _login(environment.get(f"{prefix}_AUTH", ""))
    options = _tls_options(environment) if tls else {}
    if environment.get(f"{prefix}_AUTH_FILE"):
        options["password_file"] = environment[f"{prefix}_AUTH_FILE"]
    query = _query(options)
    if kind == "cluster":
        scheme = "rediss+cluster" if tls else "redis+cluster"
        nodes, own = _bare(target)
        return f"{scheme}://{login or own}{nodes}{query}", found, ""
    if kind == "sentinel":
        return _sentinel(environment, prefix, target, options, found)
    if kind != "single":
        return (
            f"redis+{kind}://{login}{target}",
            found,
            f"{prefix}_TYPE {kind!r} is not SINGLE, CLUSTER or SENTINEL",
        )
    if environment.get(f"{prefix}_SOCKET_TYPE", "unix").lower() == "unix":
        return f"unix://{login}{target}{query}", found, ""
    if "://" in target:
        return _with_login(target, login, tls=tls) + query, found, ""
    return f"{'rediss' if tls else 'redis'}://{login}{target}/0{query}", found, ""


def _sentinel(
    environment: Mapping[str, str], prefix: str, target: str, options: dict[str, str], found: tuple[str, ...]
) -> StoreUrl:
    """Read `master,host:port,…`: the reference writes the name of the master first."""
    master, _, sentinels = target.partition(",")
    if not sentinels or ":" in master:
        return (
            f"redis+sentinel://{_bare(target)[0]}",
            found,
            f"{prefix}_URL of a sentinel is MASTER,HOST:PORT,…",
        )
    sentinels, in_url = _bare(sentinels)
    secret = environment.get(f"{prefix}_SENTINEL_AUTH", "") or unquote(in_url.removesuffix("@")).removeprefix(
        ":"
    )
    if secret:
        user, colon, password = secret.partition(":")
        own = (
            {"sentinel_username": user, "sentinel_password": password}
            if colon
            else {"sentinel_password": user}
        )
        options = {**options, **own}
    login = _login(environment.get(f"{prefix}_AUTH", ""))
    scheme = "rediss+sentinel" if _is_true(environment.get(f"{prefix}_TLS", "")) else "redis+sentinel"
    return f"{scheme}://{login}{sentinels}/{quote(master)}{_query(options)}", found, ""


def _bare(servers: str) -> tuple[str, str]:
    """Return HOST:PORT of each, and the first login: the reference takes redis://USER:PASSWORD@HOST:PORT for each, too."""
    hosts, login = [], ""
    for server in servers.split(","):
        userinfo, at, host = server.rpartition("://")[2].rpartition("@")
        hosts.append(host.partition("/")[0])
        login = login or userinfo + at
    return ",".join(hosts), login


def _query(options: Mapping[str, str]) -> str:
    return f"?{urlencode(options, safe='/')}" if options else ""


def _login(auth: str) -> str:
    """`user:password`, or a password alone, as the beginning of an authority."""
    if not auth:
        return ""
    user, colon, password = auth.partition(":")
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if colon else f":{quote(user, safe='')}@"


def _with_login(url: str, login: str, *, tls: bool) -> str:
    scheme, _, rest = url.partition("://")
    scheme = "rediss" if tls and scheme == "redis" else scheme
    return f"{scheme}://{rest if '@' in rest else login + rest}"


def _tls_options(environment: Mapping[str, str]) -> dict[str, str]:
    options = {option: environment[name] for name, option in _FILES.items() if environment.get(name)}
    if _is_true(environment.get("REDIS_TLS_SKIP_HOSTNAME_VERIFICATION", "")):
        options["ssl_check_hostname"] = "false"
    return options


def _is_true(text: str) -> bool:
    return text.strip().lower() in _TRUE
