"""The five OpenAPI documents: each operation told whole, each example right."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

import vila2.schemas.rest
from services.chassis.web.openapi import operations
from services.platform.embedded import EmbeddedPlatform
from vila2.client import SERVICES
from vila2.recipes.recipe import Recipe
from vila2.schemas.rest.base import Model
from vila2.schemas.rest.controller import RECIPE

# Answers whose content the platform does not decide, or that are no JSON.
NO_EXAMPLE = {"list_metrics", "get_report", "get_recipe_schema"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPlatform]:
    with EmbeddedPlatform(tmp_path_factory.mktemp("openapi")) as made:
        yield made


@pytest.fixture(params=SERVICES)
def document(request: pytest.FixtureRequest, platform: EmbeddedPlatform) -> dict[str, Any]:
    found: dict[str, Any] = platform.apps[request.param].openapi()
    return found


def models() -> list[type[Model]]:
    """Every model of the REST interfaces that shows an example."""
    for module in pkgutil.iter_modules(vila2.schemas.rest.__path__):
        importlib.import_module(f"vila2.schemas.rest.{module.name}")
    found, waiting = [], [Model]
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if model.__module__.startswith("vila2.schemas.rest.") and model.model_config.get(
            "json_schema_extra"
        ):
            found.append(model)
    return found


def test_every_operation_is_told_whole(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert operation["tags"], where


def test_operation_ids_are_the_verbs_and_nouns_that_functions_have(
    document: dict[str, Any],
) -> None:
    """Readable, and no two are the same: generated clients name their methods by them."""
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name in names:
        assert "_" in name, name
        assert "v1" not in name, name


def test_every_operation_tells_its_refusals(document: dict[str, Any]) -> None:
    problems = document["components"]["responses"]
    for path, method, operation in operations(document):
        told = {status for status in operation["responses"] if status.startswith("4")}
        needed = {"401", "403", "422", "429"}
        if method != "get":
            needed |= {"404", "409"}
        assert needed <= told, (method, path)
        for status in told:
            reference = operation["responses"][status]["$ref"]
            content = problems[reference.rsplit("/", 1)[-1]]["content"]
            assert list(content) == ["application/problem+json"]


def test_bodies_and_main_replies_have_examples(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        assert body is None or "example" in body, f"body of {method} {path}"
        for status, reply in operation["responses"].items():
            content = reply.get("content", {}).get("application/json")
            if status.startswith("2") and content and operation["operationId"] not in NO_EXAMPLE:
                assert "example" in content, f"reply of {method} {path}"


def test_every_list_comes_in_pages(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        reply = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
        if reply.get("schema", {}).get("type") == "array":
            asked = {parameter["name"] for parameter in operation.get("parameters", [])}
            assert {"limit", "cursor"} <= asked, f"{method} {path}"


def test_what_starts_work_answers_202_and_where_it_is(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        reply = operation["responses"].get("202")
        assert reply is None or "Location" in reply["headers"], (method, path)


def test_a_method_that_a_path_does_not_have_is_a_problem(platform: EmbeddedPlatform) -> None:
    with httpx2.Client(
        base_url="http://datasets/",
        headers={"authorization": f"Bearer {platform.key}"},
        transport=platform.transport("datasets"),
    ) as http:
        refused = http.delete("v1/datasets")
    assert (refused.status_code, refused.headers["content-type"]) == (
        405, "application/problem+json",
    )  # fmt: skip
    assert "allow" in refused.headers


# What creates a row that has no name of its own; anything else may be repeated as it is.
KEYED = {
    "create_version", "open_layer", "begin_export", "start_job", "start_specialist", "submit_job",
    "add_model", "start_run", "branch_run", "exclude_samples",
}  # fmt: skip


def test_what_creates_takes_a_key_and_nothing_else_does(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        keyed = operation["operationId"] in KEYED
        assert ("Idempotency-Key" in names) == keyed, f"{method} {path}"


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_an_example_is_what_its_model_takes(model: type[Model]) -> None:
    (given,) = model.model_json_schema()["examples"]
    model.model_validate(given)


def test_the_recipe_of_the_examples_is_a_recipe() -> None:
    Recipe.model_validate(RECIPE)
