"""The page at /docs tells every operation, and loads nothing from anywhere."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import httpx2
import pytest

from services.chassis.reference.page import reference_page
from services.chassis.web.openapi import operations
from services.platform.embedded import EmbeddedPlatform
from vila2.client import SERVICES


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPlatform]:
    with EmbeddedPlatform(tmp_path_factory.mktemp("reference")) as made:
        yield made


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_is_told_without_a_script(platform: EmbeddedPlatform, service: str) -> None:
    """Keys are at hand where it is read, and a machine may have no internet."""
    reply = httpx2.Client(transport=platform.transport(service)).get(f"http://{service}/docs")
    assert reply.status_code == 200
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|https?://", reply.text.split("<h1>")[0])
    assert "<script" not in reply.text
    for path, method, operation in operations(platform.apps[service].openapi()):
        assert f"<b>{method.upper()}</b> <code>{path}</code>" in reply.text
        assert html.escape(operation["summary"], quote=False).split("'")[0] in reply.text
    for name in platform.apps[service].openapi()["components"]["schemas"]:
        assert f"<code>{name}</code>" in reply.text


def test_nothing_in_the_document_becomes_markup() -> None:
    operation = {"summary": "<script>x</script>", "tags": ["<b>"], "responses": {}}
    page = reference_page(
        {"info": {"title": "<i>"}, "paths": {"/v1/x": {"get": operation}}, "components": {}}
    )
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<h1>&lt;i&gt;</h1>" in page
