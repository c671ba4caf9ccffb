"""Runs by command: looked at, steered, and continued by one command, whatever stopped them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.services.controller.runs.test_operations import bare
from tests.support.runs.run_commands import RUN, Commands
from tests.support.runs.stepped_platform import recipe, start
from vila2.cli.main import app
from vila2.evaluation.report.model import RunReport
from vila2.schemas.rest.controller import Comparison, Event, Run
from vila2.schemas.rest.estimates import Costs


@pytest.fixture(scope="module")
def finished(commands: Commands) -> Run:
    """A run of one round at its end."""
    made = recipe(rounds={"maximum": 1, "patience": 1}, specialists=[], controls=[])
    run = commands.stepped.finish(start(commands.stepped, made, name="first"))
    assert run.state == "finished", run.error
    return run


def test_a_run_is_listed_with_its_date_and_shown_with_its_scores(
    commands: Commands, finished: Run
) -> None:
    listed = commands.told("runs", "list")
    assert finished.id in listed
    assert "20" in listed.split("finished")[1]  # a year
    shown = commands.told("runs", "show", "first")
    assert "round 1" in shown
    assert "against the best before" in shown


def test_every_view_of_a_run_is_what_rest_answers(commands: Commands, finished: Run) -> None:
    def found(*view: str) -> str:
        return commands.told("runs", "show", finished.id, *view, "--json")

    assert Run.model_validate_json(found()) == finished
    assert RunReport.model_validate_json(found("--report")).run.id == finished.id
    assert Costs.model_validate_json(found("--costs")).run == finished.id
    events = [Event.model_validate(entry) for entry in json.loads(found("--events"))]
    assert len(events) > 3
    later = json.loads(found("--events", "--after", "2"))
    assert [entry["sequence"] for entry in later] == [e.sequence for e in events[2:]]
    assert Comparison.model_validate_json(found("--against", finished.id)).ours == finished.id


def test_views_are_shown_as_tables(commands: Commands, finished: Run) -> None:
    assert "run.started" in commands.told("runs", "show", finished.id, "--events")
    assert "never estimated" in commands.told("runs", "show", finished.id, "--costs")
    same = commands.told("runs", "show", finished.id, "--against", finished.id)
    assert "the recipes are the same" in same
    assert "one of" in commands.error("runs", "show", "first", "--events", "--costs")


def test_the_page_is_written_on_request(commands: Commands, finished: Run, tmp_path: Path) -> None:
    page = tmp_path / "new" / "report.html"
    assert str(page) in commands.told("runs", "show", finished.id, "--html", str(page))
    assert page.read_text().startswith("<!doctype html>")


def test_resume_continues_a_paused_run(commands: Commands) -> None:
    run = start(commands.stepped, bare(), name="paused")
    commands.stepped.controller.reconciler.tick()
    assert "is paused" in commands.told("runs", "pause", run)
    assert "is running" in commands.told("runs", "resume", run, "--detach")
    commands.told("runs", "cancel", run)


def test_resume_tries_failed_rounds_again(commands: Commands) -> None:
    run = start(commands.stepped, bare(), name="failing")
    commands.stepped.until(run, "round 0", "training")
    commands.stepped.turn()
    job = next(commands.stepped.client.training.jobs(run=run))
    commands.stepped.client.training.cancel(job.id)
    assert commands.stepped.finish(run).state == "failed"
    assert "is running" in commands.told("runs", "resume", run, "--detach")
    commands.told("runs", "cancel", run)


def test_following_is_interrupted_with_the_command_that_continues(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(commands.stepped, bare(), name="interrupted")

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vila2.cli.runs.follow.time.sleep", interrupt)
    told = RUN.invoke(app, ["runs", "resume", run], env=commands.env)
    assert "the run continues on the server" in told.stdout
    assert f"`vila2 runs resume {run}` continues to follow it" in told.stdout
    assert told.exit_code == 130
    commands.told("runs", "cancel", run)
