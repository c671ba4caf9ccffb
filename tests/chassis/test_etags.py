"""Entity tags: what a caller has is not sent again, what it has not seen is not overwritten."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import Response
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import PreconditionFailed
from services.chassis.rest.etags import Unchanged, set_tag, tag_of
from services.standalone.app import Standalone
from tests.standalone import pictures, submitted
from vila2.api.controller import AmendIn, RunIn
from vila2.api.datasets import DatasetIn
from vila2.api.examples import RECIPE
from vila2.client import ApiError


@pytest.fixture
def foxes(platform: Standalone) -> Standalone:
    platform.client.datasets.create(DatasetIn(name="foxes", kind="pairs"))
    return platform


def get(platform: Standalone, path: str, **headers: str) -> Any:
    return platform.client.datasets.send("GET", path, headers=headers)


def test_what_the_caller_has_is_not_sent_again(foxes: Standalone) -> None:
    first = get(foxes, "datasets/foxes")
    again = get(foxes, "datasets/foxes", **{"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


def test_a_change_gives_another_tag(foxes: Standalone) -> None:
    before = get(foxes, "datasets").headers["etag"]
    foxes.client.datasets.create(DatasetIn(name="hares", kind="pairs"))
    again = get(foxes, "datasets", **{"if-none-match": before})
    assert again.status_code == 200
    assert again.headers["etag"] != before


def test_replies_are_for_their_caller_and_are_asked_for_anew(foxes: Standalone) -> None:
    assert get(foxes, "datasets").headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("given", ["*", '"x", {tag}', "W/{tag}"])
def test_any_of_several_tags_will_do(foxes: Standalone, given: str) -> None:
    tag = get(foxes, "datasets/foxes").headers["etag"]
    named = given.format(tag=tag)
    assert get(foxes, "datasets/foxes", **{"if-none-match": named}).status_code == 304


def test_a_problem_has_no_tag(platform: Standalone) -> None:
    with pytest.raises(ApiError) as refused:
        get(platform, "datasets/none", **{"if-none-match": "*"})
    assert refused.value.problem.status == 404


@given(st.text(), st.text())
def test_a_change_needs_the_tag_of_what_is_there(ours: str, theirs: str) -> None:
    seen, present = (AmendIn(recipe={}, reason=text[:1000]) for text in (ours, theirs))
    reply = Response()
    set_tag(reply, seen)
    unchanged = Unchanged(reply.headers["etag"])
    if seen == present:
        unchanged.check(present)
    else:
        with pytest.raises(PreconditionFailed):
            unchanged.check(present)


def test_a_weak_tag_is_not_enough_for_a_change() -> None:
    body = AmendIn(recipe={})
    with pytest.raises(PreconditionFailed):
        Unchanged("W/" + tag_of(body.model_dump_json().encode())).check(body)


def test_of_two_who_change_a_recipe_at_once_the_second_is_told(
    platform: Standalone, tmp_path: Any
) -> None:
    for name in ("web-photos", "web-base", "web-sft", "shapes-vqa"):
        submitted(platform.client, pictures(tmp_path / "foxes", count=2), name=name)
    controller = platform.client.controller
    run = controller.start_run(RunIn(recipe=RECIPE))
    controller.pause_run(run.id)
    seen = controller.send("GET", f"runs/{run.id}/recipe").headers["etag"]
    body = AmendIn(recipe={**RECIPE, "rounds": {"maximum": 3, "patience": 1}})
    assert controller.amend(run.id, body, if_match=seen).recipe_number == 2
    with pytest.raises(ApiError) as refused:
        controller.amend(run.id, body, if_match=seen)
    assert (refused.value.problem.status, refused.value.problem.field) == (412, "If-Match")
    controller.cancel_run(run.id)
