"""Runs are named, cancelled and continued by commands that are never a guess or a dead end."""

from __future__ import annotations

import re
import shlex
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from services.controller.tables import LeaseRow, RunRow
from tests.services.controller.runs.test_operations import bare
from tests.support.runs.run_commands import RUN, Commands
from tests.support.runs.stepped_platform import start
from vila2.cli.main import app
from vila2.cli.runs.follow import interrupted
from vila2.client import ApiError
from vila2.client.run_commands import continuing

COMMAND = re.compile(r"`vila2 (runs (?:resume|branch|show) [^`]*)`")


def test_a_name_that_is_taken_is_refused_with_another(commands: Commands) -> None:
    """A run that was not given a name gets one that is free."""
    run = start(commands.stepped, bare(), name="taken")
    with pytest.raises(ApiError, match="such as taken-2") as refused:
        start(commands.stepped, bare(), name="taken")
    assert f"`vila2 runs resume {run}`" in str(refused.value)
    unnamed = [start(commands.stepped, bare(), name="") for _ in range(2)]
    names = [commands.stepped.client.controller.run(held).name for held in unnamed]
    assert names == ["tiny", "tiny-2"]
    for held in (run, *unnamed):
        commands.told("runs", "cancel", held)


def test_of_several_runs_of_one_name_none_is_taken(commands: Commands) -> None:
    """As an older version left them: the candidates are listed with their dates."""
    runs = [start(commands.stepped, bare(), name=name) for name in ("one", "two")]
    with commands.stepped.controller.runs.database.transaction() as session:
        session.execute(update(RunRow).where(RunRow.id.in_(runs)).values(name="same"))
    for command in (["show", "same"], ["cancel", "same"], ["show", "same", "--report"]):
        said = commands.error("runs", *command)
        assert "2 runs are named 'same'" in said
        for run in runs:
            assert re.search(rf"{run}, started 20\d\d-\d\d-\d\d \d\d:\d\d UTC, running", said)
            assert commands.stepped.client.controller.run(run).state == "running"
    for run in runs:
        commands.told("runs", "cancel", run)


def test_cancelling_on_a_terminal_says_what_is_lost_and_asks(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(commands.stepped, bare(), name="asked")
    commands.stepped.until(run, "round 1", "captioning")
    monkeypatch.setattr("vila2.cli.runs.control.console", lambda: SimpleNamespace(is_terminal=True))
    refused = RUN.invoke(app, ["runs", "cancel", run], input="n\n", env=commands.env)
    assert refused.exit_code == 1
    assert "lost: round 1 (" in refused.stdout
    assert "kept: base, round 0" in refused.stdout
    assert commands.stepped.client.controller.run(run).state == "running"
    assert "is cancelled" in commands.told("runs", "cancel", run, "--yes")


def test_a_cancelled_run_is_branched_by_the_command_that_it_says(commands: Commands) -> None:
    """`resume` of it says the same command, and the branch has the finished rounds."""
    run = start(commands.stepped, bare(), name="ended")
    commands.stepped.until(run, "round 1", "captioning")
    said = commands.told("runs", "cancel", run)
    (command,) = COMMAND.findall(said)
    assert COMMAND.findall(commands.error("runs", "resume", run)) == [command]
    branched = commands.told(*shlex.split(command), "--name", "from-it", "--json")
    assert "from-it" in branched
    held = commands.stepped.client.controller.run("from-it")
    assert [(r.name, r.state) for r in held.rounds] == [("base", "done"), ("round 0", "done")]
    commands.told("runs", "cancel", "from-it")


def test_a_run_without_a_finished_round_is_started_again(commands: Commands) -> None:
    run = start(commands.stepped, bare(), name="barely")
    commands.told("runs", "cancel", run)
    for command in ("resume", "cancel"):
        assert "vila2 runs start" in commands.error("runs", command, run)
    assert "vila2 runs start" in commands.error("runs", "branch", run, "--round", "base")


@pytest.mark.parametrize("state", ["running", "paused", "failed", "finished", "cancelled"])
@pytest.mark.parametrize("round_state", ["done", "failed"])
def test_no_message_leads_to_a_command_that_refuses_the_run(state: str, round_state: str) -> None:
    """`resume` continues what runs, is paused or has a failed round, never what is cancelled."""
    rounds: Any = [SimpleNamespace(name="round 0", kind="baseline", state=round_state)]
    said = continuing("run-1", state, rounds)
    resumes = state in ("running", "paused") or (
        round_state == "failed" and state in ("failed", "finished")
    )
    assert ("runs resume" in said) is resumes


def test_images_done_of_all_are_shown_while_a_run_captions(commands: Commands) -> None:
    """With rate and time left, in the view of the run and in what is followed."""
    run = start(commands.stepped, bare(), name="captioned")
    commands.stepped.until(run, "round 1", "captioning")
    stepped = commands.stepped
    for _ in range(30):
        stepped.controller.reconciler.tick()
        for unit, _hint in list(stepped.caption.units.claimable())[:1]:
            stepped.caption.worker.take(unit)
        stepped.caption.jobs.steps.take_all()
        found = stepped.client.controller.run(run).rounds[-1]
        if found.progress.done:
            break
    assert found.state == "captioning"
    assert 0 < found.progress.done < found.progress.total
    shown = " ".join(commands.told("runs", "show", run).split())
    assert re.search(r"captioning 6 of 12 images, [\d.,]+/s, left \d+:\d\d", shown)
    commands.told("runs", "cancel", run)


def test_a_run_that_no_controller_carries_says_so(commands: Commands) -> None:
    run = start(commands.stepped, bare(), name="alone")
    commands.stepped.controller.reconciler.tick()
    assert "no controller" not in commands.told("runs", "show", run)
    with commands.stepped.controller.runs.database.transaction() as session:
        before = session.get_one(LeaseRow, "reconciler").until
        session.execute(update(LeaseRow).values(until=1000.0))
    for command in (["list"], ["show", run]):
        said = " ".join(commands.told("runs", *command).split())
        assert "lease ended at 1970-01-01 00:16:40 UTC" in said
    with commands.stepped.controller.runs.database.transaction() as session:
        session.execute(update(LeaseRow).values(until=before))
    commands.told("runs", "cancel", run)


def test_ctrl_c_says_what_stops_and_what_continues() -> None:
    assert "the run continues on the server" in interrupted("run-1", served=True)
    here = interrupted("run-1", served=False, options=" -w .demo")
    assert "run only while this command does" in here
    assert "`vila2 runs resume run-1 -w .demo`" in here
