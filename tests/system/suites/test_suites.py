"""What continuous integration takes for a failure, and what runs again; pytest runs pytest here."""

from __future__ import annotations

import pytest

from tests.support.paths import REPOSITORY

pytest_plugins = ("pytester",)
PLUGINS = "-p xdist.plugin -p pytest_rerunfailures -p tests.support.suites"
MARKERS = "\n".join(f"    {name}: as in pyproject.toml" for name in ("slow", "full", "server"))
BREAKS_ONCE = """
import pathlib, pytest
{mark}
def test_it():
    seen = pathlib.Path("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError("the first time")
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of tests under the rules of this suite, as in continuous integration."""
    pytester.makeini(f"[pytest]\naddopts = {PLUGINS}\nmarkers =\n{MARKERS}\n")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("CI", "1")
    # The others take seconds to import.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("VILA2_TESTS_END", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    return pytester


def skipping(reason: str) -> str:
    return f"import pytest\ndef test_it():\n    pytest.skip({reason!r})"


@pytest.mark.parametrize("processes", [0, 1])
def test_a_skip_for_another_reason_fails_the_run(run: pytest.Pytester, processes: int) -> None:
    run.makepyfile(skipping("slurmctld is not installed"))
    done = run.runpytest_subprocess("-n", str(processes))
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*should have run and did not*", "*test_it: *slurmctld is not*"])


def test_a_whole_file_that_skips_itself_fails_the_run(run: pytest.Pytester) -> None:
    run.makepyfile("import pytest\npytest.importorskip('no_such_module')\ndef test_it(): ...")
    run.makepyfile(test_other="def test_other(): ...")
    done = run.runpytest_subprocess("-n", "1")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*should have run and did not*"])


def test_a_skip_for_a_listed_reason_is_none(run: pytest.Pytester) -> None:
    run.makepyfile(skipping("VILA2_REAL_DATA is not set"))
    assert run.runpytest_subprocess().ret == pytest.ExitCode.OK


def test_outside_of_continuous_integration_any_skip_is_none(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI")
    run.makepyfile(skipping("slurmctld is not installed"))
    assert run.runpytest_subprocess().ret == pytest.ExitCode.OK


def test_what_is_not_reached_in_time_fails_the_run(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VILA2_TESTS_END", "1")
    run.makepyfile("def test_it(): ...")
    done = run.runpytest_subprocess()
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*test_it: Skipped: not reached*"])


def test_a_test_on_a_server_runs_again_and_is_listed(run: pytest.Pytester) -> None:
    run.makepyfile(BREAKS_ONCE.format(mark="@pytest.mark.server"))
    done = run.runpytest_subprocess("-n", "1")
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["*flaky: failed, then passed*", "*::test_it"])


def test_no_other_test_runs_again(run: pytest.Pytester) -> None:
    run.makepyfile(BREAKS_ONCE.format(mark=""))
    assert run.runpytest_subprocess().ret == pytest.ExitCode.TESTS_FAILED


def test_a_server_is_started_by_no_unmarked_test(run: pytest.Pytester) -> None:
    run.makepyfile(
        "from tests.support.servers.process import check_marked\ndef test_it(): check_marked()"
    )
    done = run.runpytest_subprocess()
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*mark it `server`*"])


def test_what_uses_a_server_is_not_quick(run: pytest.Pytester) -> None:
    run.makepyfile(
        "import pytest\n@pytest.fixture\ndef s3(): ...\ndef test_it(s3): ...\n"
        "@pytest.mark.full\ndef test_long(): ...\ndef test_quick(): ..."
    )
    run.runpytest_subprocess("-m", "not slow").assert_outcomes(passed=1, deselected=2)
