from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chassis.example_service import ExampleService, example_service
from vila2.schemas.rest.problem import Problem


@pytest.fixture
def app(tmp_path: Path) -> Iterator[ExampleService]:
    with example_service(tmp_path) as made:
        yield made


def problem(app: ExampleService, path: str, **options: object) -> Problem:
    reply = app.send("POST", path, key=app.keys.issue(team="red"), **options)
    assert reply.headers["content-type"] == "application/problem+json"
    told = Problem.model_validate(reply.json())
    assert told.status == reply.status_code
    return told


def test_an_unknown_key_in_a_body_is_named_and_to_be_removed(app: ExampleService) -> None:
    """A misspelling never passes unseen."""
    told = problem(app, "v1/notes", json={"size": 1, "sise": 2})
    assert (told.status, told.field, told.fix) == (422, "sise", "remove this key")


def test_a_missing_field_is_named(app: ExampleService) -> None:
    """With where to look."""
    told = problem(app, "v1/notes", json={})
    assert (told.status, told.field) == (422, "size")
    assert told.fix


def test_every_wrong_field_is_in_the_detail(app: ExampleService) -> None:
    """One answer is enough to mend the whole body, nested fields by their path."""
    told = problem(app, "v1/notes", json={"size": "big", "inner": {"a": "x"}})
    assert "size" in told.detail
    assert "inner.a" in told.detail


def test_a_body_that_is_not_json_is_a_problem_too(app: ExampleService) -> None:
    """Not a page of HTML, and not a 500."""
    told = problem(app, "v1/notes", content=b"{", headers={"content-type": "application/json"})
    assert told.status == 422


def test_a_refusal_of_ours_names_field_and_fix(app: ExampleService) -> None:
    """The error class decides the status and the type."""
    told = problem(app, "v1/taken")
    assert (told.status, told.type) == (409, "urn:vila2:problem:conflict")
    assert (told.detail, told.field, told.fix) == ("it is taken", "name", "choose another")


def test_an_unforeseen_error_is_a_problem_that_tells_nothing_of_the_inside(
    app: ExampleService,
) -> None:
    """500, with a request id to look for in the log."""
    told = problem(app, "v1/broken")
    assert told.status == 500
    assert told.request_id
    assert "request_id" in (told.fix or "")
    assert "secret" not in told.model_dump_json()


def test_a_route_that_is_not_there_is_a_problem_too(app: ExampleService) -> None:
    """404 like any other thing that is not there."""
    assert problem(app, "v1/nothing").status == 404


def test_what_another_service_refuses_is_passed_on(app: ExampleService) -> None:
    """The caller sees the refusal of the service behind, not an inner error of this one."""
    told = problem(app, "v1/refused-elsewhere")
    assert (told.status, told.field, told.fix) == (404, "dataset", "make it first")


def test_a_service_that_does_not_answer_is_no_fault_of_the_request(app: ExampleService) -> None:
    """503: the same request may do later."""
    assert problem(app, "v1/silent").status == 503


def test_a_request_keeps_its_id_where_it_is_plain(app: ExampleService) -> None:
    """An id that could break a log line is replaced."""
    for given, kept in (("abc-1", True), ("a b\tc", False)):
        reply = app.send("GET", "healthz", headers={"x-request-id": given})
        assert (reply.headers["x-request-id"] == given) == kept


def test_metrics_count_routes_by_their_template(app: ExampleService) -> None:
    """No series per id, and none of the key."""
    key = app.keys.issue(team="red")
    app.send("GET", "v1/whoami", key=key)
    app.send("GET", "v1/never-heard-of")
    text = app.send("GET", "metrics").text
    assert 'route="/v1/whoami"' in text
    assert "never-heard-of" not in text
    assert key not in text


def test_of_many_wrong_values_the_first_are_told_and_the_rest_counted(app: ExampleService) -> None:
    """A small body would otherwise be answered by a large reply."""
    many = {"size": 1, "inner": {f"{'k' * 400}{n}": "x" * 400 for n in range(500)}}
    told = problem(app, "v1/notes", json=many)
    assert told.detail.endswith("and 480 more")
    assert told.detail.count("; ") == 20
    assert len(told.model_dump_json()) < 20_000


def test_a_made_up_method_is_counted_as_other(app: ExampleService) -> None:
    """Else each would be a series of its own for ever, without a key."""
    for number in range(3):
        app.send(f"MADEUP{number}", "v1/notes")
        app.send(f"MADEUP{number}", "healthz")
    text = app.send("GET", "metrics").text
    assert 'method="OTHER"' in text
    assert "MADEUP" not in text
