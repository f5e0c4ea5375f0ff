"""What the rate limit filter of a real Envoy can ask for and be told, beyond a limit that is crossed."""

from pathlib import Path

from envoy_demo import configs
from envoy_demo.client import get
from envoy_demo.processes import Processes
from envoy_demo.services import start_ratelimit
from envoy_demo.upstream import Upstream
from tests.e2e.edges import AT_ONCE, RATELIMIT, edge


def test_a_header_that_is_no_utf8_lifts_no_limit(
    processes: Processes, upstream: Upstream, tmp_path: Path
) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(
        "domain: edge\ndescriptors: [{ key: remote_address, rate_limit: { unit: day, requests_per_unit: 3 } }]\n"
    )
    service = start_ratelimit(processes, file, options=AT_ONCE)
    service.wait_ready()
    envoy = edge(processes, upstream, RATELIMIT, [service], configs.be_patient)
    # The client writes a header in Latin-1, so this is the single byte.
    answers = [get(envoy.port, "/", x_user="\xff").status for _ in range(5)]
    assert answers == [200, 200, 200, 429, 429]
    assert envoy.stat("cluster.upstream.ratelimit.error") == 0
