"""What counts as wrong: pure judgements."""

from __future__ import annotations

import pytest

from vila2.doctor import judging
from vila2.doctor.finding import Finding, attempted, healthy, ok, problem, report


def test_an_old_python_is_a_problem() -> None:
    assert judging.python((3, 10, 14)).state == "problem"
    assert judging.python((3, 11, 0)).state == "ok"


def test_a_package_that_is_missing_is_named() -> None:
    found = judging.packages(["numpy>=2.2", "rich>=15"], {"rich": "15.1"})
    assert [(f.state, f.found) for f in found] == [("problem", "numpy is missing")]


def test_a_package_of_an_extra_may_be_absent_but_must_fit() -> None:
    required = ["torch>=2.13,<3; extra == 'train'", "scipy>=1.17; extra == 'train'"]
    assert judging.packages(required, {})[0].state == "ok"
    (found,) = judging.packages(required, {"torch": "2.9"})
    assert (found.state, found.found) == ("problem", "torch 2.9 (wanted <3,>=2.13) is installed")


def test_a_requirement_of_another_python_is_left_alone() -> None:
    assert judging.packages(["tomli; python_version < '3.11'"], {})[0].state == "ok"


def test_a_local_build_of_a_version_fits() -> None:
    required = ["torch>=2.13,<3; extra == 'train'"]
    assert judging.packages(required, {"torch": "2.13.0+cpu"})[0].state == "ok"


@pytest.mark.parametrize(
    ("free", "state"), [(judging.GIB // 2, "problem"), (5 * judging.GIB, "warning"),
                        (50 * judging.GIB, "ok")],
)  # fmt: skip
def test_a_full_disk_is_a_problem_before_it_is_full(free: int, state: str) -> None:
    assert judging.disk("/data", free, 100 * judging.GIB).state == state


@pytest.mark.parametrize(("mode", "state"), [(0o100600, "ok"), (0o100640, "problem")])
def test_a_key_that_others_can_read_is_a_problem(mode: int, state: str) -> None:
    assert judging.private("/w/key", mode, owned=True).state == state


@pytest.mark.parametrize(
    ("ahead", "state"), [(0.5, "ok"), (2.4, "ok"), (-3, "warning"), (600, "problem")]
)
def test_a_clock_is_held_against_ours_within_what_can_be_known(ahead: float, state: str) -> None:
    assert judging.clock("caption", ahead, 0.5).state == state


def test_services_must_be_of_this_version() -> None:
    states = [judging.version("caption", theirs, "1.2").state for theirs in ("1.2", "1.1", "")]
    assert states == ["ok", "problem", "warning"]


def test_a_build_for_the_cpu_beside_a_gpu_is_told() -> None:
    states = [
        judging.torch(build, cuda, gpus).state
        for build, cuda, gpus in (
            (None, None, 1), ("2.13.0+cpu", None, 0), ("2.13.0+cpu", None, 2), ("2.13", "13.0", 0),
            ("2.13", "13.0", 2),
        )
    ]  # fmt: skip
    assert states == ["ok", "ok", "warning", "warning", "ok"]


def test_an_error_becomes_a_problem_with_its_first_line() -> None:
    def look() -> str:
        raise OSError("no route\nand more")

    assert attempted("broker", look, fix="start it") == problem(
        "broker", "no route", fix="start it"
    )


def test_programs_read_whether_all_is_well() -> None:
    found = [ok("a", "fine"), Finding("b", "warning", "odd", "look"), problem("c", "gone", fix="x")]
    told = report(found)
    assert (told["healthy"], told["findings"][2]["fix"]) == (False, "x")
    assert healthy(found[:2])
