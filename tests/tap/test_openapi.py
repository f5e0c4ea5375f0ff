"""The OpenAPI document is valid, has every route and no other, and says what the answers are."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from envoy_tap.api import PREFIX
from envoy_tap.api.openapi import document
from tests.tap.api import URL, WHY, api, captured, on


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(dict(document())).validate()


async def test_it_has_every_route_and_no_other(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, _):
        app: Any = client._transport.app  # type: ignore[attr-defined] # of httpx's ASGITransport
        served = {
            (route.path.removeprefix(PREFIX), method.lower())
            for route in app.routes
            if isinstance(route, Route)
            for method in (route.methods or ())
            if method != "HEAD"
        }
    assert {(path, method) for path, found in document()["paths"].items() for method in found} == served


@pytest.fixture
def validator() -> Any:
    def validate(name: str, answer: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
        Draft202012Validator(schema).validate(answer)

    return validate


async def test_the_answers_are_what_it_says(tmp_path: Path, validator: Any) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry, on(b"/a"))
        one = f"{URL}/{session_id}"
        for name, method, url, body in [
            ("Document", "GET", "/api/v1/openapi.json", None),
            ("Whoami", "GET", "/api/v1/whoami", None),
            ("Session", "POST", URL, WHY),
            ("Sessions", "GET", URL, None),
            ("Session", "GET", one, None),
            ("Exchanges", "GET", f"{one}/exchanges", None),
            ("ShownExchange", "GET", f"{one}/exchanges/1", None),
            ("Predicate", "POST", "/api/v1/predicate", {"predicate": "all"}),
            ("Preview", "POST", "/api/v1/preview", {"predicate": "all"}),
            ("Nodes", "GET", "/api/v1/nodes", None),
            ("Session", "POST", f"{one}/stop", None),
            ("Audit", "GET", "/api/v1/audit", None),
            ("Error", "GET", f"{URL}/0123456789ab", None),
            ("Error", "POST", "/api/v1/predicate", {"predicate": "x"}),
        ]:
            answer = await client.request(method, url, json=body)
            assert (answer.status_code < 400) is (name != "Error"), answer.text
            validator(name, answer.json())
