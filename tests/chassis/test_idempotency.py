"""A POST with an idempotency key is carried out once, however often it is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from services.chassis.rest import kept_replies
from tests.chassis.small_app import SmallApp, small_app

WRITE = ("runs:read", "runs:write")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[SmallApp]:
    with small_app(tmp_path) as made:
        yield made


def count(
    app: SmallApp, key: str, idempotency: str | None, body: object = None, path: str = "v1/counts"
) -> httpx2.Response:
    headers = {} if idempotency is None else {"Idempotency-Key": idempotency}
    return app.send("POST", path, key=key, headers=headers, json=body or {"size": 1})


def test_the_same_key_and_body_get_the_first_reply_again(app: SmallApp) -> None:
    key = app.keys.issue(team="red", scopes=WRITE)
    first, again = count(app, key, "a"), count(app, key, "a")
    assert (first.json(), again.json()) == ({"count": 1}, {"count": 1})
    assert (first.headers["idempotent-replayed"], again.headers["idempotent-replayed"]) == (
        "false", "true",
    )  # fmt: skip
    assert again.headers["location"] == first.headers["location"]
    assert again.status_code == first.status_code == 202
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


def test_without_a_key_a_request_is_carried_out_each_time(app: SmallApp) -> None:
    key = app.keys.issue(team="red", scopes=WRITE)
    counts = [count(app, key, None) for _ in range(2)]
    assert [reply.json()["count"] for reply in counts] == [1, 2]
    assert "idempotent-replayed" not in counts[0].headers


def test_the_same_key_with_another_body_is_refused(app: SmallApp) -> None:
    key = app.keys.issue(team="red", scopes=WRITE)
    count(app, key, "a")
    refused = count(app, key, "a", {"size": 2})
    assert (refused.status_code, refused.json()["field"]) == (422, "Idempotency-Key")
    assert count(app, key, None).json() == {"count": 2}  # it was not carried out


def test_a_key_counts_within_its_team_and_path(app: SmallApp) -> None:
    red, blue = (app.keys.issue(team=team, scopes=WRITE) for team in ("red", "blue"))
    replies = [
        count(app, red, "a"),
        count(app, blue, "a"),
        count(app, red, "a", path="v1/other-counts"),
    ]
    assert [reply.json()["count"] for reply in replies] == [1, 2, 3]


def test_two_keys_of_one_team_share_its_replies(app: SmallApp) -> None:
    """Such as before and after a key was renewed."""
    old, new = (app.keys.issue(team="red", scopes=WRITE) for _ in range(2))
    assert count(app, old, "a").json() == count(app, new, "a").json()


def test_no_reply_is_given_to_whom_the_route_would_refuse(app: SmallApp) -> None:
    writer = app.keys.issue(team="red", scopes=WRITE)
    reader = app.keys.issue(team="red", scopes=("runs:read",))
    count(app, writer, "a")
    assert count(app, reader, "a").status_code == 403


def test_a_refusal_is_kept_as_well(app: SmallApp) -> None:
    key = app.keys.issue(team="red", scopes=WRITE)
    replies = [count(app, key, "a", path="v1/taken") for _ in range(2)]
    assert [reply.status_code for reply in replies] == [409, 409]
    assert replies[1].headers["idempotent-replayed"] == "true"
    assert replies[1].headers["content-type"] == "application/problem+json"


def test_an_error_of_ours_is_not_kept(app: SmallApp) -> None:
    key = app.keys.issue(team="red", scopes=WRITE)
    for _ in range(2):
        broken = count(app, key, "a", path="v1/broken")
        assert broken.status_code == 500
        assert "idempotent-replayed" not in broken.headers


def test_a_stream_is_not_kept(app: SmallApp) -> None:
    key = app.keys.issue(team="red", scopes=WRITE)
    replies = [count(app, key, "a", path="v1/streams") for _ in range(2)]
    assert [reply.text for reply in replies] == ["stream 1", "stream 2"]
    assert "idempotent-replayed" not in replies[0].headers


def test_a_reply_that_is_not_to_be_stored_is_not_kept(app: SmallApp) -> None:
    """Such as one that shows a secret."""
    key = app.keys.issue(team="red", scopes=WRITE)
    replies = [count(app, key, "a", path="v1/secrets") for _ in range(2)]
    assert [reply.json() for reply in replies] == [1, 2]


@pytest.mark.parametrize("wrong", ["", "k" * 256, "with space"])
def test_a_wrong_key_is_refused(app: SmallApp, wrong: str) -> None:
    key = app.keys.issue(team="red", scopes=WRITE)
    assert count(app, key, wrong).json()["field"] == "Idempotency-Key"


def test_while_the_first_is_at_work_the_second_is_told_to_wait(app: SmallApp) -> None:
    key = app.keys.issue(team="red", scopes=WRITE)
    with app.held_up():
        first = app.in_background(lambda: count(app, key, "a", path="v1/slow"))
        app.wait_until_at_work()
        second = count(app, key, "a", path="v1/slow")
    assert (second.status_code, second.headers["retry-after"]) == (409, "1")
    assert second.json()["type"] == "urn:vila2:problem:in-progress"
    assert first.result(timeout=20).json() == "done"
    assert count(app, key, "a", path="v1/slow").headers["idempotent-replayed"] == "true"


def test_replies_outlive_the_process(tmp_path: Path) -> None:
    with small_app(tmp_path) as app:
        key = app.keys.issue(team="red", scopes=WRITE)
        count(app, key, "a")
    with small_app(tmp_path) as app:
        again = count(app, key, "a")
    assert (again.json(), again.headers["idempotent-replayed"]) == ({"count": 1}, "true")


def test_a_claim_whose_process_died_lapses(app: SmallApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_replies, "CLAIM_SECONDS", 0.05)
    assert isinstance(app.replies.claim("one", "print"), str)
    time.sleep(0.1)
    assert isinstance(app.replies.claim("one", "print"), str)


def test_a_claim_is_renewed_while_its_request_is_at_work(
    app: SmallApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_replies, "CLAIM_SECONDS", 0.6)
    key = app.keys.issue(team="red", scopes=WRITE)
    with app.held_up():
        first = app.in_background(lambda: count(app, key, "a", path="v1/slow"))
        app.wait_until_at_work()
        time.sleep(1.0)
        second = count(app, key, "a", path="v1/slow")
    assert second.status_code == 409
    assert first.result(timeout=20).status_code == 200


def test_what_is_a_day_old_is_forgotten(app: SmallApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_replies, "KEPT_SECONDS", 0.05)
    key = app.keys.issue(team="red", scopes=WRITE)
    count(app, key, "a")
    time.sleep(0.1)
    assert count(app, key, "a").json() == {"count": 2}
