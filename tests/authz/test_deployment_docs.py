"""The blocks of docs/authz-deployment.md, put into the shipped configuration: a real Envoy takes them."""

import re
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from ruamel.yaml import YAML

from envoy_demo import configs
from envoy_demo.envoy import validate
from envoy_demo.processes import Processes
from tests.authz.tokens.certificates import certificate, pem, write

PAGE = (Path(__file__).parents[2] / "docs" / "authz-deployment.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"```yaml\n# ([^\n]+)\n(.*?)```", PAGE, re.DOTALL))


def block(heading: str) -> Any:
    return YAML(typ="safe", pure=True).load(BLOCKS[heading])


def test_every_block_has_a_heading_that_is_used_here() -> None:
    assert PAGE.count("```yaml\n") == len(BLOCKS) == 5


def test_envoy_takes_all_of_it(tmp_path: Path) -> None:
    made, key = certificate(x509.UniformResourceIdentifier("spiffe://td/edge"), ca=True)
    write(tmp_path, "cert", made, key)
    (tmp_path / "cert.key").rename(tmp_path / "key.pem")
    (tmp_path / "ca.pem").write_text(pem(made))
    config = configs.on_ports(configs.load("authz.yaml"), {"upstream": [1], "envoy_authz": [2]})
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    chain["transport_socket"] = block("transport_socket of the filter chain")
    manager = chain["filters"][0]["typed_config"]
    manager.update(block("http_connection_manager"))
    configs.http_filter(config, configs.EXT_AUTHZ).update(block("envoy.filters.http.ext_authz"))
    manager["http_filters"].insert(0, block("the first of http_filters"))
    (host,) = manager["route_config"]["virtual_hosts"]
    host["typed_per_filter_config"] = block("a route's or a virtual host's typed_per_filter_config")
    file = tmp_path / "envoy.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML().dump(config, stream)
    file.write_text(file.read_text("utf-8").replace("/etc/envoy/tls", str(tmp_path)), "utf-8")
    with Processes(tmp_path) as processes:
        code, said = validate(processes, file)
    assert code == 0, said


@pytest.mark.parametrize(
    "name", ["normalize_path", "merge_slashes", "path_with_escaped_slashes_action", "use_remote_address"]
)
def test_the_shipped_configuration_says_the_same(name: str) -> None:
    config = configs.load("authz.yaml")
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager[name] == block("http_connection_manager")[name]
