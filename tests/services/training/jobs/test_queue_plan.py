"""Who starts next: pure, so every kind of queue is tried."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from services.training.queue.planner import NO_SLOT, Team, Waiting, plan

TEAMS = ("red", "blue", "green")
UNITS = ("gpu", "process")

jobs = st.lists(
    st.builds(
        Waiting,
        id=st.uuids().map(str),
        team=st.sampled_from(TEAMS),
        unit=st.sampled_from(UNITS),
        processes=st.integers(1, 8),
        priority=st.integers(-2, 2),
        since=st.floats(0, 100),
    ),
    max_size=12,
    unique_by=lambda job: job.id,
)
team = st.builds(
    Team,
    running=st.integers(0, 4),
    busy=st.integers(0, 16),
    recent=st.floats(0, 100),
    share=st.sampled_from((0.5, 1.0, 4.0)),
    max_jobs=st.none() | st.integers(1, 3),
    spent=st.dictionaries(st.sampled_from(UNITS), st.just("over its quota"), max_size=2),
)
teams = st.dictionaries(st.sampled_from(TEAMS), team)


def job(name: str, team: str, *, priority: int = 0, since: float = 0.0) -> Waiting:
    return Waiting(name, team, "process", 1, priority, since)


@settings(max_examples=60)
@given(jobs, teams, st.integers(0, 5), st.integers(0, 6))
def test_every_job_starts_or_says_why_it_waits(queue, held, running, slots) -> None:
    made = plan(queue, held, running=running, slots=slots)
    assert sorted([*made.start, *made.reasons]) == sorted(job.id for job in queue)
    assert all(made.reasons.values())


@settings(max_examples=60)
@given(jobs, teams, st.integers(0, 5), st.integers(0, 6))
def test_slots_are_never_exceeded_nor_left_empty_while_a_job_could_start(
    queue, held, running, slots
) -> None:
    made = plan(queue, held, running=running, slots=slots)
    assert not made.start or running + len(made.start) <= slots
    if running + len(made.start) < slots:
        assert NO_SLOT not in made.reasons.values()


@settings(max_examples=60)
@given(jobs, teams, st.integers(0, 6))
def test_nothing_starts_over_a_quota(queue, held, slots) -> None:
    made = plan(queue, held, running=0, slots=slots)
    started = [job for job in queue if job.id in made.start]
    for name, count in Counter(job.team for job in started).items():
        team = held.get(name, Team())
        assert team.max_jobs is None or team.running + count <= team.max_jobs
        assert not {job.unit for job in started if job.team == name} & set(team.spent)


@settings(max_examples=60)
@given(jobs, teams, st.integers(0, 6))
def test_a_team_never_has_a_job_wait_for_one_of_lower_priority(queue, held, slots) -> None:
    made = plan(queue, held, running=0, slots=slots)
    for name in TEAMS:
        spent = held.get(name, Team()).spent
        own = [job for job in queue if job.team == name and job.unit not in spent]
        waits = [job.priority for job in own if job.id not in made.start]
        started = [job.priority for job in own if job.id in made.start]
        assert not waits or not started or max(waits) <= min(started)


@settings(max_examples=20)
@given(st.lists(st.sampled_from((1.0, 2.0, 4.0)), min_size=3, max_size=3))
def test_over_time_teams_get_slots_by_their_shares(shares) -> None:
    """However high the priorities of some, and however many jobs they send: nobody starves."""
    held = {name: Team(share=share) for name, share in zip(TEAMS, shares, strict=True)}
    got: Counter[str] = Counter()
    for turn in range(140):
        queue = [job("r", "red", priority=9, since=turn), job("b", "blue"), job("g", "green")]
        (first,) = plan(queue, held, running=0, slots=1).start
        name = next(waiting.team for waiting in queue if waiting.id == first)
        got[name] += 1
        held[name] = replace(held[name], recent=held[name].recent + 1)
    for name, share in zip(TEAMS, shares, strict=True):
        assert abs(got[name] - 140 * share / sum(shares)) <= 2


def test_the_team_that_keeps_less_busy_goes_first() -> None:
    held = {"red": Team(running=1, busy=8), "blue": Team(running=2, busy=2, recent=50.0)}
    queue = [job("r", "red", priority=5), job("b", "blue", since=9.0)]
    assert plan(queue, held, running=3, slots=4).start == ("b",)


def test_at_a_tie_the_job_that_waited_longest_goes_first() -> None:
    queue = [job("late", "red", since=2.0), job("early", "blue", since=1.0)]
    assert plan(queue, {}, running=0, slots=1).start == ("early",)


def test_a_job_within_its_quota_passes_one_that_is_over() -> None:
    """A team whose GPU-hours are used up can still evaluate on CPUs."""
    over = Waiting("gpu", "red", "gpu", 1, 9, 0.0)
    held = {"red": Team(spent={"gpu": "waiting until Monday"})}
    made = plan([over, job("cpu", "red")], held, running=0, slots=2)
    assert (made.start, made.reasons) == (("cpu",), {"gpu": "waiting until Monday"})
