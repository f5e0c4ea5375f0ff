"""An Envoy on each of the shipped configurations, in front of the session's upstream."""

from collections.abc import Callable, Sequence

from envoy_demo import configs
from envoy_demo.configs import Config
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.processes import Processes
from envoy_demo.services import Service
from envoy_demo.upstream import Upstream

# A service that nobody drains from may go at once.
AT_ONCE = ("--drain-delay", "0")

AUTHZ = ("authz.yaml", "envoy_authz")
AUTHZ_REPLICAS = ("authz-replicas.yaml", "envoy_authz")
RATELIMIT = ("ratelimit.yaml", "envoy_ratelimit")
TAP = ("tap.yaml", "envoy_tap")

TIMEOUTS = "cluster.{}.upstream_rq_timeout"
SERVED = "cluster.upstream.upstream_rq_total"


def edge(
    processes: Processes,
    upstream: Upstream,
    shipped: tuple[str, str],
    services: Sequence[Service],
    *changes: Callable[[Config], object],
) -> Envoy:
    """Start an Envoy on a *shipped* configuration whose service cluster leads to *services*, after *changes* to it."""
    name, cluster = shipped
    ports = [service.port for service in services]
    config = configs.on_ports(configs.load(name), {"upstream": [upstream.port], cluster: ports})
    for change in (log_failures, *changes):
        change(config)
    return start_envoy(processes, config)


def log_failures(config: Config) -> None:
    """Have Envoy write each answer of 500 and above into its log, where a failing test shows it."""
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["access_log"] = [
        {
            "name": "envoy.access_loggers.stdout",
            "filter": {
                "status_code_filter": {
                    "comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "unused"}}
                }
            },
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": {
                    "text_format_source": {
                        "inline_string": "%START_TIME% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% "
                        "%RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %DURATION%ms\n"
                    }
                },
            },
        }
    ]


def authz_lets_pass_without_answer(config: Config) -> None:
    """Make authz fail open."""
    configs.http_filter(config, configs.EXT_AUTHZ)["failure_mode_allow"] = True


def ratelimit_refuses_without_answer(config: Config) -> None:
    """Make ratelimit fail closed."""
    configs.http_filter(config, configs.RATELIMIT)["failure_mode_deny"] = True
