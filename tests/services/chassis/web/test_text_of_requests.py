"""Text that no database can hold, and numbers that no sum can, are refused wherever they stand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.web.openapi import operations
from services.platform.embedded import EmbeddedPlatform
from vila2.schemas.text import seen, text_problem


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPlatform]:
    with EmbeddedPlatform(tmp_path_factory.mktemp("text")) as made:
        yield made


JSON = st.recursive(
    st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda below: st.lists(below) | st.dictionaries(st.text("ab"), below),
)


@given(JSON, st.sampled_from(["a\0b", "\ud800", "a\udfffb"]), st.data())
def test_text_is_found_at_any_depth(held: Any, bad: str, data: st.DataObject) -> None:
    def has_nul(value: Any) -> bool:
        return "\\u0000" in json.dumps(value)

    assert bool(text_problem(held)) == has_nul(held)
    for _ in range(data.draw(st.integers(0, 50))):
        bad = [bad] if data.draw(st.booleans()) else {"x": bad}  # type: ignore[assignment]
    assert text_problem(bad).endswith("remove it")
    assert text_problem({bad: 1} if isinstance(bad, str) else bad)


@pytest.mark.parametrize("name", ["a\0b", "a\u202eb", "a\u200bb", "a\x9bb", "a\u2028b", "\ue000"])
def test_a_name_whose_characters_cannot_be_seen_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"U\+[0-9A-F]{4}"):
        seen(name)


@pytest.mark.parametrize("name", ["mira@example.org", "Zoë", "अनु", "김-철수", "x_1"])
def test_names_of_every_script_may_be_given(name: str) -> None:
    assert seen(name) == name


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, example) of every operation that takes JSON."""
    for path, method, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        examples = content.get("examples") or {}
        held = [content["example"]] if "example" in content else []
        held += [each["value"] for each in examples.values()]
        for example in [each for each in held[:1] if isinstance(each, dict)]:
            yield method.upper(), re.sub(r"\{[^}]*\}", "x", path), example


@pytest.mark.parametrize("bad", ["a\\ud800", "a\\u0000"])
@pytest.mark.parametrize("service", ["datasets", "training", "caption", "specialist", "controller"])
def test_no_operation_breaks_at_text_that_cannot_be_stored(
    platform: EmbeddedPlatform, service: str, bad: str
) -> None:
    """A name's half character was an inner error, in any text field of any body."""
    client = httpx2.Client(
        base_url=f"http://{service}/",
        headers={"authorization": f"Bearer {platform.key}", "content-type": "application/json"},
        transport=platform.transport(service),
    )
    tried = 0
    for method, path, example in bodies(platform.apps[service].openapi()):
        for name in [name for name, value in example.items() if isinstance(value, str)]:
            body = json.dumps({**example, name: "THIS"}).replace("THIS", bad)
            reply = client.request(method, path, content=body)
            assert 400 <= reply.status_code < 500, (method, path, name, reply.text)
            tried += 1
    assert tried


@pytest.mark.parametrize("moment", ["1e308", "-1", "inf", "nan", "1e400"])
@pytest.mark.parametrize("path", ["training/v1/usage", "controller/v1/audit"])
def test_a_moment_is_a_time_that_can_be(platform: EmbeddedPlatform, path: str, moment: str) -> None:
    """One beyond all attempts made their hours negative."""
    service, _, rest = path.partition("/")
    client = httpx2.Client(
        base_url=f"http://{service}/",
        headers={"authorization": f"Bearer {platform.key}"},
        transport=platform.transport(service),
    )
    for name in ("since", "until"):
        assert client.get(rest, params={name: moment}).status_code == 422
