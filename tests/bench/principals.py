"""A hundred policies that allow by path and principal, one of which allows the request that is sent."""

from pathlib import Path

from ruamel.yaml import YAML

SERVICES = 100


def policies(into: Path) -> Path:
    """Write the policies to the folder *into*, and return it; `payloads.check_request` is allowed by the first."""
    into.mkdir()
    with (into / "policies.yaml").open("w", encoding="utf-8") as file:
        YAML().dump_all([_policy(number) for number in range(SERVICES)], file)
    return into


def _policy(number: int) -> dict[str, object]:
    path, caller = (f"/service-{number}/*", f"caller-{number}") if number else ("/orders/*", "frontend")
    rule = {
        "from": [{"source": {"principals": [f"shop.example/ns/web/sa/{caller}"]}}],
        "to": [{"operation": {"methods": ["GET"], "paths": [path]}}],
    }
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": f"service-{number}", "namespace": "demo"},
        "spec": {"rules": [rule]},
    }
