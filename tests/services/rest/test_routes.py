"""Every route of every service: none is open, and each says which scope it needs."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from fastapi.routing import APIRoute

from services.chassis.web.asgi import InProcessTransport
from services.identity.require_scope import ALL_SCOPES
from services.platform.embedded import EmbeddedPlatform
from services.platform.mount import front
from vila2.client import SERVICES


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPlatform]:
    with EmbeddedPlatform(tmp_path_factory.mktemp("routes")) as made:
        yield made


def documented(platform: EmbeddedPlatform, service: str) -> list[tuple[str, str]]:
    """(METHOD, path) of all that the service's OpenAPI document lists."""
    paths = platform.apps[service].openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def scopes_of(route: APIRoute) -> list[str]:
    return [
        scope
        for dependency in route.dependant.dependencies
        if (scope := getattr(dependency.call, "scope", None)) is not None
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_of_the_document_names_its_one_scope(
    platform: EmbeddedPlatform, service: str
) -> None:
    """Whoever reads the document knows which key to ask for; none is open."""
    document = platform.apps[service].openapi()
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            ((scheme, scopes),) = [*operation["security"][0].items()]
            assert (scheme, len(operation["security"]), len(scopes)) == ("apiKey", 1, 1), path
            assert scopes[0] in ALL_SCOPES, path
            if method in ("put", "delete", "patch"):
                assert scopes[0].endswith(":write"), path


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_of_the_document_tells_its_refusals(
    platform: EmbeddedPlatform, service: str
) -> None:
    """401, 403 and 429 are problem documents, and the last says when to come back."""
    document = platform.apps[service].openapi()
    replies = document["components"]["responses"]
    for methods in document["paths"].values():
        for operation in methods.values():
            for status in ("401", "403", "429"):
                name = operation["responses"][status]["$ref"].rpartition("/")[2]
                schema = replies[name]["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}
    assert "Retry-After" in replies["Problem429"]["headers"]
    assert "detail" in document["components"]["schemas"]["Problem"]["properties"]


def routes_of(platform: EmbeddedPlatform, service: str) -> list[APIRoute]:
    found: list[APIRoute] = []
    waiting = list(platform.apps[service].routes)
    while waiting:
        route = waiting.pop()
        if isinstance(route, APIRoute):
            found.append(route)
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        waiting.extend(getattr(inner, "routes", []))
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_every_documented_route_is_refused_without_a_key(
    platform: EmbeddedPlatform, service: str
) -> None:
    """401 comes before anything else, whatever the path and the body hold."""
    routes = documented(platform, service)
    assert routes
    with httpx2.Client(
        base_url=f"http://{service}/", transport=platform.transport(service)
    ) as http:
        for method, path in routes:
            assert path.startswith("/v1/"), path
            reply = http.request(method, _filled(path))
            assert reply.status_code == 401, (method, path, reply.text)
            assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_declares_one_scope_that_keys_can_have(
    platform: EmbeddedPlatform, service: str
) -> None:
    """And what changes something needs a scope to write."""
    routes = [route for route in routes_of(platform, service) if route.include_in_schema]
    paths = {(method, route.path_format) for route in routes for method in route.methods}
    assert {(m, _tail(p)) for m, p in documented(platform, service)} == {
        (m, _tail(p)) for m, p in paths
    }
    for route in routes:
        scopes = scopes_of(route)
        assert len(scopes) == 1, route.path_format
        assert scopes[0] in ALL_SCOPES
        if route.methods & {"PUT", "DELETE", "PATCH"}:
            assert scopes[0].endswith(":write"), route.path_format


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_open_tells_nothing_but_health_and_counts(
    platform: EmbeddedPlatform, service: str
) -> None:
    """Health and metrics need no key; nothing else is outside /v1 but the documents."""
    outside = {
        route.path_format for route in routes_of(platform, service) if not route.include_in_schema
    }
    assert outside <= {"/healthz", "/readyz", "/metrics"}


def _tail(path: str) -> str:
    return path.removeprefix("/v1")


def _filled(path: str) -> str:
    """The path with 1 for every parameter, which is a name and a number."""
    parts = ["1" if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)


def test_a_process_answers_for_itself_however_many_services_it_has(
    platform: EmbeddedPlatform,
) -> None:
    """Health and metrics at the root; each service below its name, a single one there too."""
    one = {"caption": platform.apps["caption"]}
    for apps in (one, platform.apps):
        transport = InProcessTransport(front(apps), platform._apps_thread)
        with httpx2.Client(base_url="http://host/", transport=transport) as http:
            assert http.get("healthz").json()["status"] == "ok"
            assert "vila2_http_requests_total" in http.get("metrics").text
            assert http.get("caption/v1/endpoints").status_code == 401
            assert http.get("v1/endpoints").status_code == (401 if apps is one else 404)
