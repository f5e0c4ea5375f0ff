"""What is said of the reference's variables that become no option, and of those that nobody knows."""

from dataclasses import fields

import pytest

from envoy_ratelimit.migrate import notes, translate
from envoy_ratelimit.migrate_notes import NOTES, READ
from envoy_ratelimit.settings import RatelimitSettings

EVERYTHING = frozenset(field.name for field in fields(RatelimitSettings))
TCP = {"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": "redis:6379"}


@pytest.mark.parametrize("more", [{}, {"REDIS_PERSECOND": "true"}, {"BACKEND_TYPE": "memcache"}])
def test_no_variable_of_the_reference_is_dropped_without_a_word(more: dict[str, str]) -> None:
    for name in READ | NOTES.keys():
        for value in ("true", "false", "1", "x"):
            found = translate({**TCP, **more, name: value}, EVERYTHING)
            assert any(name in mapped.variables for mapped in found), name


@pytest.mark.parametrize(
    ("environment", "kind", "said"),
    [
        ({"LIMIT_REQUEST_HEADERS_ENABLED": "true"}, "unsupported", "only to the response"),
        (
            {"LIMIT_REQUEST_LIMIT_HEADER": "x"},
            "ignored",
            "nothing without LIMIT_REQUEST_HEADERS_ENABLED=true",
        ),
        ({"LIMIT_LIMIT_HEADER": "x"}, "ignored", "nothing without LIMIT_RESPONSE_HEADERS_ENABLED=true"),
        ({"GRPC_MAX_CONCURRENT_STREAMS": "9"}, "unsupported", "max_concurrent_streams"),
        ({"MAX_CONCURRENT_REQUESTS": "9"}, "unsupported", "decided together"),
        ({"MAX_CONCURRENT_REQUESTS": "0"}, "ignored", "it is off"),
        ({"REQUEST_TIMEOUT": "1s"}, "differs", "--store-timeout"),
        ({"USE_CALENDAR_MONTH_RATE_LIMIT": "true"}, "unsupported", "30 days"),
        ({"REDIS_AUTH_FILE": "/run/secret"}, "differs", "redis://USER@HOST:PORT"),
        ({"MEMCACHE_SRV": "x"}, "ignored", "nothing without BACKEND_TYPE=memcache"),
        ({"MEMCACHE_SRV": "x", "BACKEND_TYPE": "memcache"}, "unsupported", "no memcached store"),
        ({"REDIS_URL": "r:1", "BACKEND_TYPE": "memcache"}, "ignored", "nothing without BACKEND_TYPE=redis"),
        ({"REDIS_PERSECOND_TIMEOUT": "1s"}, "ignored", "nothing without REDIS_PERSECOND=true"),
        ({"RUNTIME_ROOT": "/", "CONFIG_TYPE": "GRPC_XDS_SOTW"}, "ignored", "without CONFIG_TYPE=FILE"),
        ({"SHADOW_MODE": "perhaps"}, "unsupported", "its value is not understood"),
        ({"GRPC_SERVER_USE_TLS": "true"}, "same", ""),
        ({"BACKEND_TYPE": "redis"}, "same", ""),
        ({"FORCE_START_WITHOUT_INITIAL_CONFIG": "true"}, "differs", "files"),
        ({"FORCE_START_WITHOUT_INITIAL_CONFIG": "true", "CONFIG_TYPE": "GRPC_XDS_SOTW"}, "same", ""),
        (
            {"FORCE_START_WITHOUT_INITIAL_CONFIG": "false", "CONFIG_TYPE": "GRPC_XDS_SOTW"},
            "ignored",
            "it is off",
        ),
        ({"LIMIT_TYPO": "hidden"}, "unknown", "not understood"),
        ({"REDIS_NEWER_THAN_THIS": "hidden"}, "unknown", "not understood"),
    ],
)
def test_each_variable_says_what_it_means_here(environment: dict[str, str], kind: str, said: str) -> None:
    name = next(iter(environment))
    (found,) = [
        mapped for mapped in translate({**TCP, **environment}, EVERYTHING) if name in mapped.variables
    ]
    assert found.kind == kind
    assert said in found.note
    assert (notes([found]) == []) == (kind in {"same", "ignored"})
    assert "hidden" not in repr(found)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"BACKEND_TYPE": "memcache"}, "BACKEND_TYPE: there is no memcached store"),
        ({"REDIS_TYPE": "RING"}, "'ring' is not SINGLE"),
        ({"REDIS_TYPE": "SENTINEL"}, "MASTER,HOST:PORT"),
        ({"REDIS_TYPE": "SENTINEL", "REDIS_URL": "a:1,b:2"}, "MASTER,HOST:PORT"),
        ({"QUOTA_MODE": "true"}, "QUOTA_MODE: write quota_mode"),
        ({"USE_STATSD": "true"}, "USE_STATSD: metrics are at /metrics"),
    ],
)
def test_what_cannot_be_honoured_is_said(environment: dict[str, str], said: str) -> None:
    assert any(said in note for note in notes(translate({**TCP, **environment}, EVERYTHING)))


def unknown(written_for_it: bool, *names: str) -> set[str]:
    found = translate({**TCP, **dict.fromkeys(names, "hidden")}, EVERYTHING, written_for_it=written_for_it)
    return {name for mapped in found if mapped.kind == "unknown" for name in mapped.variables}


def test_of_an_environment_of_many_only_what_is_named_as_the_references_is_not_understood() -> None:
    of_others = ("TZ", "KUBERNETES_PORT", "REDIS_SERVICE_HOST", "REDIS_PORT", "REDIS_PORT_6379_TCP_ADDR")
    ours = ("RATELIMIT_STORE", "OTEL_SERVICE_NAME")
    assert unknown(False, *of_others, *ours, "LIMIT_TYPO") == {"LIMIT_TYPO"}
    assert unknown(True, *of_others, *ours, "LIMIT_TYPO") == {*of_others, "LIMIT_TYPO"}
