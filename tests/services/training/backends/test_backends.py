"""One suite for every execution backend: what the dispatcher relies on."""

from __future__ import annotations

import pytest

from services.training.backends.folder import status
from tests.services.training.conftest import Submit
from tests.support.training.backend_sites import Site


def test_a_job_that_succeeds_leaves_status_and_log(site: Site, job: Submit) -> None:
    """And a backend that did not start it sees the same."""
    done = job(site, "succeed")
    done.submit()
    assert done.ended() == "succeeded"
    assert "job begins" in done.log()
    fresh = site.backend(done.folder.parent)
    assert fresh.observe(done.handle, done.folder) == "succeeded"
    done.stop()  # stopping what has ended changes nothing
    assert done.phase() == "succeeded"


def test_a_job_that_fails_is_failed_and_says_why(site: Site, job: Submit) -> None:
    """The status decides, the words lie in the folder."""
    failing, crashing = job(site, "fail"), job(site, "crash")
    failing.submit()
    crashing.submit()
    assert (failing.ended(), crashing.ended()) == ("failed", "failed")
    assert "the loss is not a number" in (failing.folder / "error.txt").read_text()
    assert "no space left" in crashing.log()


def test_one_key_has_one_job_whoever_submits_it_and_how_often(site: Site, job: Submit) -> None:
    """Dispatchers at once, one again, and one that came after the others died."""
    wanted = job(site, "sleep")
    assert len(wanted.submit_at_once(3)) == 1
    wanted.begun()
    first = wanted.handle
    assert wanted.submit() == first
    assert wanted.submit(site.backend(wanted.folder.parent), attempt=1) == first
    assert wanted.phase() == "running"
    assert wanted.starts() == 1


def test_a_job_is_adopted_whose_dispatcher_died_before_it_recorded_the_start(
    site: Site, job: Submit
) -> None:
    """Killed at the statement after the start."""
    wanted = job(site, "sleep")
    wanted.submit_and_die(site.variables())
    wanted.submit()
    wanted.begun()
    assert wanted.phase() == "running"
    assert wanted.starts() == 1


def test_an_end_that_the_caller_has_yet_to_see_is_not_run_over(site: Site, job: Submit) -> None:
    """A dispatcher that was slow submits a job that another's start has finished meanwhile."""
    done = job(site, "succeed")
    done.submit()
    assert done.ended() == "succeeded"
    assert done.submit(site.backend(done.folder.parent)) == done.handle
    assert done.ended() == "succeeded"
    assert done.starts() == 1
    done.submit(attempt=1)
    assert done.ended() == "succeeded"
    assert done.starts() == 2


def test_a_stopped_job_checkpoints_and_goes_on_when_submitted_again(
    site: Site, job: Submit
) -> None:
    """It is interrupted: 75, and the same key starts it anew."""
    stopped = job(site, "sleep_once")
    stopped.submit()
    stopped.begun().stop()
    assert stopped.phase() == "interrupted"
    assert status(stopped.folder) == 75
    stopped.submit()
    assert stopped.ended() == "succeeded"
    assert stopped.starts() == 2


def test_a_killed_job_is_interrupted_and_goes_on_when_submitted_again(
    site: Site, job: Submit
) -> None:
    """kill -9 to all of it: nobody could write a status."""
    killed = job(site, "sleep_once")
    killed.submit()
    site.kill(killed.begun())
    assert killed.ended() == "interrupted"
    killed.submit(attempt=1)
    assert killed.ended() == "succeeded"
    assert killed.starts() == 2


def test_what_does_not_leave_is_made_to_and_others_stay(site: Site, job: Submit) -> None:
    """After the wait."""
    deaf, other = job(site, "deaf"), job(site, "sleep")
    deaf.submit()
    other.submit()
    deaf.begun()
    other.begun().backend.observe(other.handle, other.folder)
    deaf.stop(wait=0.3)
    assert deaf.phase() == "interrupted"
    assert other.phase() == "running"


def test_before_its_time_limit_a_job_is_asked_to_checkpoint(site: Site, job: Submit) -> None:
    """And started again by the cluster or by the dispatcher, it goes on."""
    limited = site.limited(job)
    phase = limited.begun().ended(seconds=60)
    if phase == "interrupted":
        limited.submit(attempt=1)
        phase = limited.ended()
    assert phase == "succeeded"
    assert limited.starts() == 2


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("local", {}, "VILA2_TRAINING_ACCELERATOR"),
        pytest.param(
            "slurm", {"slurm_partition": "gold"}, "VILA2_SLURM_PARTITION", marks=pytest.mark.server
        ),
        ("kubernetes", {"kubernetes_runtime": "none"}, "runtime must be created"),
    ],
)
def test_what_a_backend_refuses_has_failed_with_its_words_and_the_fix(
    name: str, settings: dict[str, str], words: str, job: Submit, request: pytest.FixtureRequest
) -> None:
    """A job that waits for ever for what will never be there helps nobody."""
    site: Site = request.getfixturevalue(f"{name}_site")
    refused = job(site, "succeed", accelerator="gpu" if name == "local" else "")
    refused.submit(site.backend(refused.folder.parent, **settings))
    assert refused.phase() == "failed"
    assert words in (refused.folder / "error.txt").read_text()
    refused.stop()
    assert refused.starts() == 0
