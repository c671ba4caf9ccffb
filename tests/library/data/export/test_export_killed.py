"""A killed export is taken for no dataset, and is cleared away by the next one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.library.data.export.test_export import captioned, read_back, written
from tests.support.paths import REPOSITORY
from vila2.data.writers import FORMATS

KILLED = """
import sys, time
from pathlib import Path
from tests.support.datasets.samples import sample
from vila2.data.writers import Captioned, export

def slow():
    yield Captioned(sample("a"), "x", {})
    print("one is written", flush=True)
    time.sleep(60)

export(sys.argv[2], slow(), Path(sys.argv[1]), card="")
"""


@pytest.mark.parametrize("format", FORMATS)
def test_a_killed_export_leaves_no_folder_of_its_name(tmp_path, format):
    """And the next one removes the hidden one."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(out), format]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"one is written\n"
        process.kill()
    assert [path.name.startswith(f".out-{process.pid}-") for path in tmp_path.iterdir()] == [True]
    assert len(read_back(format, written(format, out, captioned("a", "x")))) == 1
    assert list(tmp_path.iterdir()) == [out]


def test_only_what_killed_exports_to_the_same_folder_left_is_removed(tmp_path):
    """Not that of a process that runs, of another folder, or what only looks alike."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    kept = [
        f".out-{os.getpid()}-0123abcd",
        ".out-1-0123abcd",
        f".out-2-{gone.pid}-0123abcd",
        f".other-{gone.pid}-0123abcd",
        f".out-{gone.pid}-notes",
        f"out-{gone.pid}-0123abcd",
    ]
    for name in (*kept, f".out-{gone.pid}-0123abcd"):
        (tmp_path / name).mkdir()
    written("folder", tmp_path / "out", captioned("a", "x"))
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "out"}
