"""The same requests through an Envoy, however it was configured: each service has its say, and says it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from envoy_demo import captures
from envoy_demo.client import Request, Response, get, send
from envoy_demo.envoy import Envoy
from envoy_demo.scenario import POLICY_HEADER, REASON_HEADER
from envoy_demo.services import Service
from envoy_demo.stack import TAP_SLOT, tap_reloads
from envoy_demo.upstream import Upstream

TAP_PATH = "/orders/traced"
ORDERS_A_MINUTE = 5
# As the shipped configurations write them.
UPSTREAM, AUTHZ, RATELIMIT, TAP = 8000, 9191, 8081, 9393

Call = Callable[[Request], Response]
_USERS = count()


@dataclass(frozen=True, slots=True)
class Services:
    """The running services, and the upstream behind Envoy."""

    upstream: Upstream
    authz: Service
    ratelimit: Service
    tap: Service

    def wait_ready(self) -> None:
        for each in (self.upstream, self.authz, self.ratelimit, self.tap):
            each.wait_ready()

    @property
    def ports(self) -> dict[int, int]:
        """Where they are in place of where the shipped configurations look for them."""
        return {
            UPSTREAM: self.upstream.port,
            AUTHZ: self.authz.port,
            RATELIMIT: self.ratelimit.port,
            TAP: self.tap.port,
        }


def plain(port: int, host: str = "") -> Call:
    """Return the call of a loopback *port* in clear text, for the virtual host *host* if one is given."""
    named = {"host": host} if host else {}
    return lambda request: send(port, replace(request, headers={**named, **request.headers}))


def authz_decides(call: Call) -> None:
    allowed = call(Request("GET", "/public/welcome"))
    assert allowed.status == 200, allowed
    assert allowed.json()["path"] == "/public/welcome"
    denied = call(Request("GET", "/orders/export"))
    assert (denied.status, denied.headers[POLICY_HEADER]) == (403, "demo/no-exports")
    around = call(Request("GET", "/public/../admin/users"))
    assert (around.status, around.headers[REASON_HEADER]) == (403, "no_policy_matched")


def ratelimit_limits(call: Call) -> None:
    user = {"x-user": f"user-{next(_USERS)}"}
    answers = [call(Request("POST", "/orders", user, b"tea")) for _ in range(ORDERS_A_MINUTE + 1)]
    assert [answer.status for answer in answers] == [200] * ORDERS_A_MINUTE + [429]


def tap_has_reached(envoy: Envoy, slot: str = TAP_SLOT) -> None:
    envoy.until_stat(tap_reloads(slot), at_least=1)


def nodes(services: Services) -> set[tuple[str, str, str]]:
    """Return the id, the cluster and the last complaint of each proxy that has a slot from tap."""
    connected = get(services.tap.admin_port, "/config").json()["nodes"]
    return {(node["id"], node["cluster"], node["nack"]) for node in connected}


def tap_captures(call: Call, services: Services) -> None:
    secret = {"authorization": "Bearer nobodys-business"}
    answer = call(Request("POST", f"{TAP_PATH}/1", secret, b'{"item": "tea"}'))
    assert answer.status == 200, answer.text
    request_id = answer.headers["x-request-id"]
    found = services.tap.process.until(
        lambda: captures.find(services.tap.admin_port, request_id), f"exchange {request_id}"
    )
    assert (found.request_body, found.status) == ('{"item": "tea"}', 200)
    assert found.request_headers["authorization"] == "[redacted]"


def all_three(call: Call, services: Services, envoy: Envoy, slot: str = TAP_SLOT) -> None:
    """Drive all three; the tap has reached *envoy* first."""
    tap_has_reached(envoy, slot)
    authz_decides(call)
    ratelimit_limits(call)
    tap_captures(call, services)
