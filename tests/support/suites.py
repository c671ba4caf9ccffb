"""Which suite a test belongs to, what runs again, and what continuous integration may leave out.

`make test` runs what is not marked `full`, `make test-full` the rest, `make quick` what is marked
neither `full` nor `slow`. CONTRIBUTING.md says how to choose.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

import tests.support.servers.process

# A test that asks for one of these runs on a real server.
SERVERS = {"postgres_server", "s3", "valkey_server", "slurm_site", "serving"}
# The only reasons for which continuous integration may skip a test; each says what is missing.
EXCUSED = (
    "VILA2_CONTAINERS",  # a Docker engine of our own, 25 GB of images and half an hour
    "VILA2_REAL_DATA",  # photographs, which are not part of the project
    "VILA2_STAMPS",  # captions in many languages, which are not part of it either
    "VILA2_NO_VLLM",  # where `make vllm` found no wheels for the machine; `.ci/run` tells
    "root may write everywhere",  # a test of permissions
    "root may listen on any port",
    "small file system",  # which a container may not be allowed to mount
)
# What comes last, so that it is what a run that is out of time does not reach.
LAST = ("/test_fuzzed_readers.py", "/test_schemathesis.py", "/tests/system/containers/")
REFUSED = pytest.StashKey[list[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Complete the marks, and begin with what takes long, so that no process ends alone with it."""
    for item in items:
        if SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)
        if item.get_closest_marker("server"):
            item.add_marker(pytest.mark.flaky(reruns=1))
        if item.get_closest_marker("server") or item.get_closest_marker("full"):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (_comes_last(item), item.path not in slow))


def _comes_last(item: pytest.Item) -> bool:
    return any(part in item.path.as_posix() for part in LAST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Only a test that is marked `server` may start one."""
    marked = item.get_closest_marker("server") is not None
    tests.support.servers.process.unmarked = "" if marked else item.nodeid
    try:
        return (yield)
    finally:
        tests.support.servers.process.unmarked = ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin no test after the moment that VILA2_TESTS_END names, in seconds since 1970."""
    end = os.environ.get("VILA2_TESTS_END")
    if end and time.time() > float(end):
        pytest.skip("not reached: the time was up")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In continuous integration a test that should have run and did not is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("CI"):  # a process of xdist's has no reporter
        return
    skipped = [(report.nodeid, report.longrepr[2]) for report in reporter.stats.get("skipped", ())]
    refused = [
        f"{test}: {reason}"
        for test, reason in skipped
        if not any(excuse in reason for excuse in EXCUSED)
    ]
    session.config.stash[REFUSED] = refused
    if refused and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """List what should have run and did not, and what passed only when it ran again."""
    passed = {report.nodeid for report in terminalreporter.stats.get("passed", ())}
    again = {report.nodeid for report in terminalreporter.stats.get("rerun", ())}
    for title, lines in (
        ("should have run and did not", config.stash.get(REFUSED, [])),
        ("flaky: failed, then passed", sorted(again & passed)),
    ):
        if lines:
            terminalreporter.section(title)
            terminalreporter.write_line("\n".join(lines))
