"""A program ends with its own status, whatever its threads are doing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_COMPUTING = """
import threading, time, torch
from vila2.system.program import run_program

def compute():
    held = torch.randn(400, 400)
    while True:
        held = torch.nn.functional.softmax(held @ held, 1)

def main():
    for _ in range(4):
        threading.Thread(target=compute, daemon=True).start()
    time.sleep(0.2)
    print("the last line")
    return 7

run_program(main)
"""


# As users have it: what is printed into a file or a pipe waits in a buffer.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def ran(code: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120,
        env=BUFFERED,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_threads_that_compute_do_not_abort_the_program_at_its_end() -> None:
    """And what it printed is there."""
    assert ran(_COMPUTING) == (7, "the last line\n", "")


@pytest.mark.parametrize("daemon", [True, False], ids=["with a daemon", "alone"])
@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ("return None", 0, ""),
        ("return 3", 3, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(4)", 4, ""),
        ("raise SystemExit('no such file')", 1, "no such file\n"),
        ("raise ValueError('a defect')", 1, "ValueError: a defect\n"),
    ],
)
def test_the_status_is_that_of_main(body: str, status: int, told: str, daemon: bool) -> None:
    """Exit handlers run either way."""
    code = f"""
import atexit, threading
from vila2.system.program import run_program
atexit.register(print, "bye")
if {daemon}:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
def main():
    {body}
run_program(main)
"""
    ended, out, error = ran(code)
    assert (ended, out, error.endswith(told)) == (status, "bye\n", True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_output_that_could_not_be_written_is_a_failure() -> None:
    code = """
import threading
from vila2.system.program import run_program
threading.Thread(target=threading.Event().wait, daemon=True).start()
run_program(lambda: print("lost"))
"""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, check=False, timeout=60, env=BUFFERED
        )
    assert done.returncode == 120
