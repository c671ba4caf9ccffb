"""The strongest of the faults; `python -m tests.system.chaos` tries all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.support.chaos.faults import FAULTS, Fault
from tests.support.chaos.stack import Stack, stack
from tests.support.chaos.table import line
from tests.support.chaos.trial import Reference, submitted, tried, undisturbed

pytestmark = [pytest.mark.server, pytest.mark.full, pytest.mark.timeout(900)]
STRONGEST = (
    "a caption worker hangs past its lease",
    "PostgreSQL is killed",
    "answers between all services are lost",
    "kill -9 everything, servers too",
)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("chaos")
    with stack(folder) as made:
        submitted(made, folder / "world")
        yield made


@pytest.fixture(scope="module")
def reference(platform: Stack) -> Callable[[bool], Reference]:
    """The undisturbed run, with a specialist or without."""
    return cache(lambda specialists: undisturbed(platform, specialists=specialists))


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.name in STRONGEST], ids=lambda fault: fault.name
)
def test_a_run_ends_as_if_nothing_had_been(
    platform: Stack, reference: Callable[[bool], Reference], fault: Fault
) -> None:
    if unfit := fault.needs(platform):
        pytest.skip(unfit)
    trial = tried(platform, fault, reference(fault.specialists))
    assert trial.survived, line(trial)


def test_every_fault_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) >= 25
    assert set(STRONGEST) <= set(names)
