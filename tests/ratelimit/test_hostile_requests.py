"""Requests that cannot be decided, over each transport: the field is named, or they are decided; never UNKNOWN."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from envoy_ratelimit import wire
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitDescriptor, RateLimitRequest, RateLimitResponse
from tests.ratelimit.asking import Admin, ratelimit

LIMITS = "domain: edge\ndescriptors: [{ key: k, rate_limit: { unit: day, requests_per_unit: 5 } }]\n"
Entry = RateLimitDescriptor.Entry
OVER, OK = RateLimitResponse.OVER_LIMIT, RateLimitResponse.OK
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module", params=["native", "grpcio"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    folder = tmp_path_factory.mktemp("hostile")
    file: Path = folder / "limits.yaml"
    file.write_text(LIMITS, "utf-8")
    with ratelimit(folder, "--config", str(file), "--transport", request.param) as started:
        yield started


def ask(service: Admin, payload: bytes) -> RateLimitResponse:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(service.listen, options) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{wire.SERVICE}/{wire.METHOD}"
        )
        return RateLimitResponse.FromString(call(payload, timeout=30, wait_for_ready=True))


def refused(service: Admin, payload: bytes) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(service, payload)
    assert isinstance(caught.value, grpc.Call)
    return caught.value.code(), caught.value.details() or ""


def asking(*values: str, times: int = 1, domain: str = "edge") -> RateLimitRequest:
    entries = [Entry(key="k", value=value) for value in values]
    return RateLimitRequest(domain=domain, descriptors=[RateLimitDescriptor(entries=entries)] * times)


def bytes_of(request: RateLimitRequest) -> bytes:
    return request.SerializeToString()


def test_what_is_missing_is_named(service: Admin) -> None:
    assert refused(service, bytes_of(asking("a", domain=""))) == (INVALID, "domain: it must not be empty")
    assert refused(service, bytes_of(asking(times=0))) == (INVALID, "descriptors: at least one is needed")
    assert refused(service, b"") == (INVALID, "domain: it must not be empty")


def test_an_absurd_cost_or_limit_is_named(service: Admin) -> None:
    request = asking("cost")
    request.descriptors[0].hits_addend.value = 2**32 + 1
    assert refused(service, bytes_of(request)) == (
        INVALID,
        f"descriptors[0].hits_addend: {2**32 + 1} is more than {2**32}",
    )
    request.descriptors[0].hits_addend.value = 2**32
    assert ask(service, bytes_of(request)).overall_code == OVER
    for unit in (0, 7, 99):
        request = asking("unit")
        request.descriptors[0].limit.requests_per_unit = 1
        request.descriptors[0].limit.unit = unit  # type: ignore[assignment]
        code, message = refused(service, bytes_of(request))
        assert code is INVALID
        assert message.startswith(f"descriptors[0].limit.unit: {unit} is not one of SECOND, MINUTE")


def test_what_is_not_utf8_is_a_value_like_another(service: Admin) -> None:
    payload = bytes_of(asking("value-x")).replace(b"value-x", b"value-\xff")
    assert [ask(service, payload).overall_code for _ in range(6)] == [OK] * 5 + [OVER]


def test_ten_thousand_descriptors_are_too_many(service: Admin) -> None:
    assert refused(service, bytes_of(asking("many", times=10_000))) == (
        INVALID,
        "descriptors: 10000 are more than 1000",
    )


def test_a_value_of_a_megabyte_is_limited(service: Admin) -> None:
    payload = bytes_of(asking("x" * 2**20))
    assert [ask(service, payload).overall_code for _ in range(6)] == [OK] * 5 + [OVER]


def test_a_message_above_what_grpc_takes_is_refused(service: Admin) -> None:
    code, _ = refused(service, bytes_of(asking("x" * 5 * 2**20)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\x05edge", bytes(range(256)) * 40])
def test_what_is_no_request_is_said(service: Admin, payload: bytes) -> None:
    code, message = refused(service, payload)
    assert (code, message) == (INVALID, "this is not a RateLimitRequest: it is cut short or malformed")
    assert ask(service, bytes_of(asking(f"after {payload[:4]!r}"))).overall_code == OK
