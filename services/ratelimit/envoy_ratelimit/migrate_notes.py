"""What each of the reference's environment variables means here: one table for those that no option stands for.

The names are those of its settings up to the summer of 2026.
"""

import re
from collections.abc import Mapping
from typing import Literal

Kind = Literal["same", "differs", "ignored", "unsupported", "unknown"]

_NO_MEMCACHE = "there is no memcached store"
_RETRIES = "the service starts without Redis; retries begin at 50 ms and end at 1 s"
_GO = "it is for Go's runtime"
_NO_IAM = "there are no tokens of IAM: use a user of Redis's own, in --store"
_NO_REQUEST_HEADERS = "nothing is added to the request that is forwarded, only to the response"
_POOL = "one connection serves a whole batch: there is no pool to size"
_STATSD = "metrics are at /metrics of the admin address, and go out by OTLP with OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACING = "spans go out by OTLP with the standard OTEL_* variables"
NOTES: Mapping[str, tuple[Kind, str]] = {
    "DEBUG_HOST": ("differs", "/rlconfig and /stats are on the admin address, with /json"),
    "DEBUG_PORT": ("differs", "/rlconfig and /stats are on the admin address, with /json"),
    "GRPC_CLIENT_TLS_SAN": (
        "unsupported",
        "any certificate that the CA signed is let in: use a CA of its own",
    ),
    "GRPC_SERVER_USE_TLS": ("same", ""),
    "GRPC_MAX_CONCURRENT_STREAMS": (
        "unsupported",
        "no option sets it; Envoy has max_concurrent_streams in the http2_protocol_options of its cluster",
    ),
    "MAX_CONCURRENT_REQUESTS": (
        "unsupported",
        "requests that arrive together are decided together; nothing is refused for being many",
    ),
    "REQUEST_TIMEOUT": (
        "differs",
        "a batch waits --store-timeout, 0.010 s, and then gets --on-store-failure",
    ),
    "LIMIT_REQUEST_HEADERS_ENABLED": ("unsupported", _NO_REQUEST_HEADERS),
    "LIMIT_REQUEST_LIMIT_HEADER": ("unsupported", _NO_REQUEST_HEADERS),
    "LIMIT_REQUEST_REMAINING_HEADER": ("unsupported", _NO_REQUEST_HEADERS),
    "LIMIT_REQUEST_RESET_HEADER": ("unsupported", _NO_REQUEST_HEADERS),
    "USE_CALENDAR_MONTH_RATE_LIMIT": ("unsupported", "a month is 30 days"),
    "GRPC_MAX_CONNECTION_AGE": ("ignored", "connections stay until the service drains"),
    "GRPC_MAX_CONNECTION_AGE_GRACE": ("ignored", "connections stay until the service drains"),
    "EXPIRATION_JITTER_MAX_SECONDS": (
        "ignored",
        "a bucket expires when it is full again; nothing is synchronized",
    ),
    "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED": ("ignored", "/healthcheck is so anyway"),
    "RUNTIME_IGNOREDOTFILES": ("ignored", "names that begin with a dot are never read"),
    "RUNTIME_WATCH_ROOT": ("ignored", "the folder is watched by content, whatever was swapped"),
    "QUOTA_MODE": ("unsupported", "write quota_mode beside each limit that it is for"),
    "REDIS_POOL_SIZE": ("ignored", _POOL),
    "REDIS_PERSECOND_POOL_SIZE": ("ignored", _POOL),
    "REDIS_POOL_ON_EMPTY_BEHAVIOR": ("ignored", _POOL),
    "REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR": ("ignored", _POOL),
    "REDIS_PIPELINE_WINDOW": ("ignored", "requests that arrive together go to Redis together"),
    "REDIS_PIPELINE_LIMIT": ("ignored", "requests that arrive together go to Redis together"),
    "REDIS_PERSECOND_PIPELINE_WINDOW": ("ignored", "requests that arrive together go to Redis together"),
    "REDIS_PERSECOND_PIPELINE_LIMIT": ("ignored", "requests that arrive together go to Redis together"),
    "REDIS_USE_EXPLICIT_PIPELINE": ("ignored", "requests that arrive together go to Redis together"),
    "REDIS_PERSECOND_USE_EXPLICIT_PIPELINE": (
        "ignored",
        "requests that arrive together go to Redis together",
    ),
    "REDIS_CLUSTER_PIPELINE_PARALLELISM": ("ignored", "all nodes are asked at once"),
    "REDIS_PERSECOND_CLUSTER_PIPELINE_PARALLELISM": ("ignored", "all nodes are asked at once"),
    "REDIS_CLOSE_CONNECTION_ON_READONLY_ERROR": ("ignored", "it is so anyway"),
    "REDIS_STARTUP_INITIAL_INTERVAL": ("ignored", _RETRIES),
    "REDIS_STARTUP_MAX_INTERVAL": ("ignored", _RETRIES),
    "REDIS_STARTUP_MAX_ELAPSED_TIME": ("ignored", _RETRIES),
    "REDIS_AWS_IAM_AUTH": ("unsupported", _NO_IAM),
    "REDIS_AWS_IAM_CACHE_NAME": ("unsupported", _NO_IAM),
    "REDIS_AWS_IAM_USER_ID": ("unsupported", _NO_IAM),
    "REDIS_AWS_IAM_SERVERLESS": ("unsupported", _NO_IAM),
    "REDIS_AWS_IAM_REGION": ("unsupported", _NO_IAM),
    "REDIS_PERSECOND_AWS_IAM_AUTH": ("unsupported", _NO_IAM),
    "REDIS_PERSECOND_AWS_IAM_CACHE_NAME": ("unsupported", _NO_IAM),
    "REDIS_PERSECOND_AWS_IAM_USER_ID": ("unsupported", _NO_IAM),
    "REDIS_PERSECOND_AWS_IAM_SERVERLESS": ("unsupported", _NO_IAM),
    "MEMCACHE_HOST_PORT": ("unsupported", _NO_MEMCACHE),
    "MEMCACHE_MAX_IDLE_CONNS": ("unsupported", _NO_MEMCACHE),
    "MEMCACHE_SRV": ("unsupported", _NO_MEMCACHE),
    "MEMCACHE_SRV_REFRESH": ("unsupported", _NO_MEMCACHE),
    "MEMCACHE_TLS": ("unsupported", _NO_MEMCACHE),
    "MEMCACHE_TLS_CLIENT_CERT": ("unsupported", _NO_MEMCACHE),
    "MEMCACHE_TLS_CLIENT_KEY": ("unsupported", _NO_MEMCACHE),
    "MEMCACHE_TLS_CACERT": ("unsupported", _NO_MEMCACHE),
    "MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION": ("unsupported", _NO_MEMCACHE),
    "REDIS_TIMEOUT": ("differs", "Redis has --store-timeout, 0.010 s: Envoy itself waits 0.020"),
    "REDIS_PERSECOND_TIMEOUT": ("differs", "Redis has --store-timeout, 0.010 s: Envoy itself waits 0.020"),
    "REDIS_HEALTH_CHECK_ACTIVE_CONNECTION": (
        "differs",
        "a service without Redis stays healthy; --on-store-failure decides",
    ),
    "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL": ("ignored", "retries begin at 0.5 s and end at 30 s"),
    "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL": ("ignored", "retries begin at 0.5 s and end at 30 s"),
    "XDS_CLIENT_BACKOFF_MAX_INTERVAL": ("ignored", "retries begin at 0.5 s and end at 30 s"),
    "XDS_CLIENT_BACKOFF_RANDOM_FACTOR": ("ignored", "retries are spread by half anyway"),
    "XDS_CLIENT_BACKOFF_JITTER": ("ignored", "retries are spread by half anyway"),
    "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES": ("ignored", "a response may have 64 MiB"),
    "USE_STATSD": ("differs", _STATSD),
    "USE_DOG_STATSD": ("differs", _STATSD),
    "USE_DOG_STATSD_MOGRIFIERS": ("differs", _STATSD),
    "STATSD_HOST": ("differs", _STATSD),
    "STATSD_PORT": ("differs", _STATSD),
    "STATS_FLUSH_INTERVAL": ("ignored", _STATSD),
    "DISABLE_STATS": ("ignored", _STATSD),
    "EXTRA_TAGS": ("differs", "label what you scrape, or set OTEL_RESOURCE_ATTRIBUTES"),
    "USE_PROMETHEUS": ("differs", "Prometheus scrapes /metrics of the admin address; the names are others"),
    "PROMETHEUS_ADDR": ("differs", "Prometheus scrapes /metrics of the admin address; the names are others"),
    "PROMETHEUS_PATH": ("differs", "Prometheus scrapes /metrics of the admin address; the names are others"),
    "PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS": ("differs", "times are in seconds; the names are others"),
    "SANITIZE_DESCRIPTOR_METRIC_DOTS": ("ignored", "metrics have labels: a dot parts nothing"),
    "PROMETHEUS_MAPPER_YAML": ("ignored", "metrics have labels: there is nothing to map"),
    "TRACING_ENABLED": ("differs", _TRACING),
    "TRACING_SERVICE_NAME": ("differs", "set OTEL_SERVICE_NAME"),
    "TRACING_SERVICE_NAMESPACE": ("differs", "set OTEL_RESOURCE_ATTRIBUTES"),
    "TRACING_SERVICE_INSTANCE_ID": ("differs", "set OTEL_RESOURCE_ATTRIBUTES"),
    "TRACING_EXPORTER_PROTOCOL": ("differs", _TRACING),
    "TRACING_SAMPLING_RATE": ("differs", "the caller's traceparent decides what is sampled"),
    "FORCE_START_WITHOUT_INITIAL_CONFIG": (
        "differs",
        "with limits from files it starts once one of them can be used",
    ),
    "GOMAXPROCS": ("ignored", _GO),
    "GOMEMLIMIT": ("ignored", _GO),
    "GOGC": ("ignored", _GO),
    "GODEBUG": ("ignored", _GO),
}
"""What is to be said of a variable that no option of ours stands for: how far ours does the same, and why."""
NEEDS: tuple[tuple[str, str, str], ...] = (
    ("LIMIT_REQUEST_HEADERS_ENABLED", "", ""),
    ("LIMIT_RESPONSE_HEADERS_ENABLED", "", ""),
    ("LIMIT_REQUEST_", "LIMIT_REQUEST_HEADERS_ENABLED", "true"),
    ("LIMIT_", "LIMIT_RESPONSE_HEADERS_ENABLED", "true"),
    ("REDIS_PERSECOND_AWS_IAM_AUTH", "REDIS_PERSECOND", "true"),
    ("REDIS_PERSECOND_AWS_IAM_", "REDIS_PERSECOND_AWS_IAM_AUTH", "true"),
    ("REDIS_PERSECOND_", "REDIS_PERSECOND", "true"),
    ("REDIS_AWS_IAM_AUTH", "BACKEND_TYPE", "redis"),
    ("REDIS_AWS_IAM_", "REDIS_AWS_IAM_AUTH", "true"),
    ("REDIS_TLS_", "REDIS_TLS", "true"),
    ("REDIS_", "BACKEND_TYPE", "redis"),
    ("MEMCACHE_TLS_", "MEMCACHE_TLS", "true"),
    ("MEMCACHE_", "BACKEND_TYPE", "memcache"),
    ("GRPC_SERVER_TLS_", "GRPC_SERVER_USE_TLS", "true"),
    ("GRPC_CLIENT_TLS_", "GRPC_SERVER_USE_TLS", "true"),
    ("CONFIG_GRPC_XDS_SERVER_TLS_", "CONFIG_GRPC_XDS_SERVER_USE_TLS", "true"),
    ("CONFIG_GRPC_XDS_CLIENT_TLS_", "CONFIG_GRPC_XDS_SERVER_USE_TLS", "true"),
    ("CONFIG_GRPC_XDS_", "CONFIG_TYPE", "GRPC_XDS_SOTW"),
    ("XDS_CLIENT_", "CONFIG_TYPE", "GRPC_XDS_SOTW"),
    ("RUNTIME_", "CONFIG_TYPE", "FILE"),
)
"""What a variable means nothing without: (how its name begins, another variable, its value); the first one holds."""
USUAL: Mapping[str, str] = {"BACKEND_TYPE": "redis", "CONFIG_TYPE": "FILE"}
"""Their values where they are not set."""
READ = frozenset(
    {
        *("GRPC_UDS", "GRPC_HOST", "GRPC_PORT", "HOST", "PORT", "LOG_LEVEL", "LOG_FORMAT"),
        *("CONFIG_TYPE", "RUNTIME_ROOT", "RUNTIME_SUBDIRECTORY", "RUNTIME_APPDIRECTORY", "BACKEND_TYPE"),
        *("CONFIG_GRPC_XDS_SERVER_URL", "CONFIG_GRPC_XDS_NODE_ID"),
        *("CONFIG_GRPC_XDS_NODE_METADATA", "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS"),
        *("CONFIG_GRPC_XDS_SERVER_USE_TLS", "CONFIG_GRPC_XDS_SERVER_TLS_CACERT"),
        *("CONFIG_GRPC_XDS_SERVER_TLS_SAN", "CONFIG_GRPC_XDS_CLIENT_TLS_CERT"),
        *("CONFIG_GRPC_XDS_CLIENT_TLS_KEY", "REDIS_URL", "REDIS_TYPE", "REDIS_AUTH", "REDIS_TLS"),
        *("REDIS_AUTH_FILE", "REDIS_PERSECOND_AUTH_FILE"),
        *("REDIS_SOCKET_TYPE", "REDIS_SENTINEL_AUTH", "REDIS_TLS_CACERT", "REDIS_TLS_CLIENT_CERT"),
        *("REDIS_TLS_CLIENT_KEY", "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION", "REDIS_PERSECOND"),
        *("REDIS_PERSECOND_URL", "REDIS_PERSECOND_TYPE", "REDIS_PERSECOND_AUTH", "REDIS_PERSECOND_TLS"),
        *("REDIS_PERSECOND_SOCKET_TYPE", "REDIS_PERSECOND_SENTINEL_AUTH", "LOCAL_CACHE_SIZE_IN_BYTES"),
        *("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", "SHADOW_MODE", "RESPONSE_DYNAMIC_METADATA"),
        *("MERGE_DOMAIN_CONFIG", "NEAR_LIMIT_RATIO", "CACHE_KEY_PREFIX", "LIMIT_RESPONSE_HEADERS_ENABLED"),
        *("LIMIT_LIMIT_HEADER", "LIMIT_REMAINING_HEADER", "LIMIT_RESET_HEADER", "GRPC_SERVER_TLS_CERT"),
        *("GRPC_SERVER_TLS_KEY", "GRPC_CLIENT_TLS_CACERT"),
    }
)
"""What options are made of."""
_BEGINNINGS = (
    *("CONFIG_GRPC_XDS_", "GRPC_CLIENT_", "GRPC_MAX_", "GRPC_SERVER_", "LIMIT_", "MEMCACHE_", "PROMETHEUS_"),
    *("REDIS_", "RUNTIME_", "STATSD_", "TRACING_", "USE_DOG_STATSD_", "XDS_CLIENT_"),
)
_OTHERS = ("OTEL_", "RATELIMIT_")
"""How the names of variables begin that this service knows by itself."""
_OF_KUBERNETES = re.compile("_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT$|_PORT_[0-9]+_(TCP|UDP)(_|$)")
"""What Kubernetes sets in each container for a service that is called `redis`, say."""


def is_unknown(name: str, *, written_for_it: bool) -> bool:
    """Tell whether a variable is to be said to be not understood.

    It is if its name begins as those of the reference do, or if the environment was *written for it* alone.
    """
    if name in READ or name in NOTES or name.startswith(_OTHERS):
        return False
    return written_for_it or (name.startswith(_BEGINNINGS) and not _OF_KUBERNETES.search(name))
