"""What the audit log holds of a request, and who may read it."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from services.chassis.web.errors import Invalid, NotFound
from services.identity import audit as module
from services.identity.audit import Audit, AuditRecord, Wanted, worth_recording
from services.identity.identity import Identity
from services.identity.settings import IdentitySettings
from services.platform.embedded import EmbeddedPlatform
from tests.support.chassis.example_service import ExampleService, example_service
from tests.support.embedded_platform import client_with
from tests.support.identity.principals import PLATFORM, admin_of
from vila2.schemas.rest.datasets import DatasetIn
from vila2.schemas.rest.identity import DAY, AuditEntry


def logged(app: ExampleService, **wanted: object) -> list[AuditEntry]:
    return app.identity.audit.page(PLATFORM, Wanted(**wanted)).entries  # type: ignore[arg-type]


def record(**what: object) -> AuditRecord:
    about = {"service": "s", "method": "POST", "route": "/r", "path": "/p", "status": 200, **what}
    return AuditRecord(**about)  # type: ignore[arg-type]


def test_a_request_that_changes_something_is_there_before_its_reply(app: ExampleService) -> None:
    """With the key, the team, the route and the id that the reply carries."""
    key = app.keys.issue(team="red")
    reply = app.send("POST", "v1/notes", key=key, json={"size": 1})
    (entry,) = logged(app)
    assert (entry.service, entry.method, entry.route) == ("example", "POST", "/v1/notes")
    assert (entry.key, entry.team, entry.status) == (key.partition(".")[0], "red", 200)
    assert entry.request_id == reply.headers["x-request-id"]


def test_a_request_that_reads_is_not(app: ExampleService) -> None:
    app.send("GET", "v1/whoami", key=app.keys.issue(team="red"))
    assert logged(app) == []


def test_what_broke_or_was_wrong_is_there_with_its_status(app: ExampleService) -> None:
    """It may have changed something before it broke."""
    key = app.keys.issue(team="red")
    for path in ("v1/taken", "v1/broken", "v1/notes"):
        app.send("POST", path, key=key)
    assert [entry.status for entry in logged(app)] == [422, 500, 409]


def test_refusals_are_there_also_of_reads(app: ExampleService) -> None:
    """403 with who it was; 401 of nobody known."""
    weak = app.keys.issue(team="red", scopes=("models:read",))
    app.send("GET", "v1/whoami", key=weak)
    app.send("GET", "v1/whoami")
    stranger, known = logged(app)
    assert (stranger.status, stranger.key, stranger.team) == (401, "", "")
    assert (known.status, known.key, known.team) == (403, weak.partition(".")[0], "red")


def test_no_secret_and_no_body_is_in_the_log(app: ExampleService, tmp_path: Path) -> None:
    key = app.keys.issue(team="red")
    app.send("POST", "v1/notes", key=key, json={"size": 271828})
    with sqlite3.connect(tmp_path / "db" / "identity.sqlite") as database:
        rows = str(database.execute("SELECT * FROM audit").fetchall())
    assert key.partition(".")[2] not in rows
    assert "271828" not in rows


def test_a_strangers_refusals_are_bounded_and_counted(
    tmp_path: Path,
) -> None:
    """Nobody fills the disk without a key."""
    counter = module.AUDIT_UNRECORDED.labels("strangers")
    before = counter._value.get()
    with example_service(tmp_path / "few", IdentitySettings(audit_refusals=3)) as app:
        for _ in range(5):
            app.send("GET", "v1/whoami")
        assert (len(logged(app)), counter._value.get() - before) == (3, 2)


def test_a_teams_refusals_are_bounded_and_what_it_changes_is_not(tmp_path: Path) -> None:
    """A key without scopes does not fill the disk either, nor hide what another key does."""
    counter = module.AUDIT_UNRECORDED.labels("refusals")
    before = counter._value.get()
    with example_service(tmp_path / "few", IdentitySettings(audit_refusals=3)) as app:
        weak = app.keys.issue(team="red", scopes=("models:read",))
        for _ in range(5):
            app.send("GET", "v1/whoami", key=weak)
        app.send("POST", "v1/notes", key=app.keys.issue(team="red"), json={"size": 1})
        app.send("GET", "v1/whoami", key=app.keys.issue(team="blue", scopes=("models:read",)))
        told = [(entry.team, entry.status) for entry in logged(app)]
    assert told == [("blue", 403), ("red", 200), *[("red", 403)] * 3]
    assert counter._value.get() - before == 2


def test_a_nul_in_the_path_keeps_nobody_out_of_the_log(app: ExampleService) -> None:
    """PostgreSQL stores none."""
    app.send("POST", "v1/taken?x=%00", key=app.keys.issue(team="red"))
    app.send("POST", "v1/no%00tes", key=app.keys.issue(team="red"))
    assert all("\0" not in entry.path for entry in logged(app))


@pytest.mark.parametrize(
    ("scope", "status", "worth"),
    [
        ("runs:write", 200, True),
        ("runs:write", 500, True),
        ("runs:write", 429, False),
        ("platform:admin", 201, True),
        ("runs:read", 200, False),
        ("runs:read", 404, False),
        ("runs:read", 403, True),
        ("runs:read", 401, True),
    ],
)
def test_what_is_worth_recording(scope: str, status: int, worth: bool) -> None:
    assert worth_recording(scope, status) is worth


def test_pages_follow_each_other_without_a_gap(identity: Identity) -> None:
    """The newest first, also while entries are added."""
    for number in range(5):
        identity.audit.record(record(path=f"/{number}", key="k", team="red"))
    first = identity.audit.page(PLATFORM, Wanted(), limit=2)
    identity.audit.record(record(path="/later", key="k", team="red"))
    second = identity.audit.page(PLATFORM, Wanted(), cursor=first.next or "", limit=2)
    third = identity.audit.page(PLATFORM, Wanted(), cursor=second.next or "", limit=2)
    told = [entry.path for page in (first, second, third) for entry in page.entries]
    assert (told, third.next) == (["/4", "/3", "/2", "/1", "/0"], None)


def test_entries_are_found_by_what_they_hold(identity: Identity) -> None:
    identity.audit.record(record(path="/v1/runs/run-7/pause", key="a", team="red", status=202))
    identity.audit.record(record(path="/v1/runs/run_7", key="b", team="blue", user_name="ada"))
    for wanted, keys in (
        (Wanted(path="run-7"), "a"), (Wanted(path="run_7"), "b"), (Wanted(key="b"), "b"),
        (Wanted(user="ada"), "b"), (Wanted(status=202), "a"), (Wanted(team="red"), "a"),
        (Wanted(method="post"), "ba"), (Wanted(since=4e9), ""), (Wanted(until=4e9), "ba"),
    ):  # fmt: skip
        found = identity.audit.page(PLATFORM, wanted).entries
        assert "".join(entry.key for entry in found) == keys, wanted


def test_a_team_reads_its_own_entries(identity: Identity) -> None:
    """Strangers' are for the platform's admin."""
    for team in ("red", "blue", ""):
        identity.audit.record(record(team=team, key=team))
    assert [e.team for e in identity.audit.page(admin_of("red"), Wanted()).entries] == ["red"]
    with pytest.raises(NotFound):
        identity.audit.page(admin_of("red"), Wanted(team="blue"))


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 30, "²"])
def test_a_cursor_that_is_none_is_named(identity: Identity, cursor: str) -> None:
    with pytest.raises(Invalid, match="is no cursor"):
        identity.audit.page(PLATFORM, Wanted(), cursor=cursor)


def test_the_log_is_one_for_all_services(platform: EmbeddedPlatform) -> None:
    """What the dataset store did is read at the controller, by the path of the thing."""
    red = client_with(platform, platform.identity.keys.issue(team="red"))
    red.datasets.create(DatasetIn(name="foxes", kind="pairs"))
    (entry,) = platform.client.identity.audit(limit=10, team="red")
    assert (entry.service, entry.path, entry.status) == ("datasets", "/v1/datasets", 201)


def test_what_is_older_than_it_is_kept_goes_when_something_new_is_written(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once an hour a process; without a number of days nothing ever goes."""
    kept, pruned = identity.audit, Audit(identity.audit._database, days=30)
    now = time.time()
    for days in (40, 31, 29):
        at = now - days * DAY
        monkeypatch.setattr(module.time, "time", lambda at=at: at)
        kept.record(record(key="k", path=f"/{days}"))
    monkeypatch.undo()
    kept.record(record(key="k", path="/kept"))
    assert len(identity.audit.page(PLATFORM, Wanted()).entries) == 4
    pruned.record(record(key="k", path="/new"))
    left = [entry.path for entry in identity.audit.page(PLATFORM, Wanted()).entries]
    assert left == ["/new", "/kept", "/29"]
    assert pruned.prune(now - 20 * DAY) == 1
    assert pruned.prune(now - 20 * DAY) == 0
