"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vila2.system.files import (
    create_atomically,
    directory_atomically,
    file_atomically,
    is_partial,
    make_private,
    write_atomically,
)


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "größe")
    assert (tmp_path / "a").read_bytes() == "größe".encode()
    write_atomically(tmp_path / "a", b"\x00")
    assert (tmp_path / "a").read_bytes() == b"\x00"


def test_a_reader_sees_no_half_file(tmp_path: Path) -> None:
    path, ending = tmp_path / "a", threading.Event()
    path.write_text("0" * 100_000)

    def write() -> None:
        while not ending.is_set():
            for digit in "01":
                write_atomically(path, digit * 100_000)

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        seen = {path.read_text() for _ in range(300)}
        ending.set()
        assert all(writer.result() is None for writer in writers)
    assert seen <= {"0" * 100_000, "1" * 100_000}


def _fail_in_a_file(path: Path) -> None:
    with file_atomically(path) as partial:
        partial.write_text("half")
        raise RuntimeError("cut")


def _fail_in_a_folder(path: Path) -> None:
    with directory_atomically(path) as partial:
        (partial / "a").write_text("half")
        raise RuntimeError("cut")


@pytest.mark.parametrize("fail", [_fail_in_a_file, _fail_in_a_folder])
def test_a_writer_that_fails_leaves_nothing(tmp_path: Path, fail: Callable[[Path], None]) -> None:
    with pytest.raises(RuntimeError, match="cut"):
        fail(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_what_is_being_written_is_told_by_its_name(tmp_path: Path) -> None:
    with file_atomically(tmp_path / "a") as partial:
        assert is_partial(partial.name)
    assert not is_partial("a")


def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    with file_atomically(tmp_path / "key", mode=0o600) as partial:
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_of_many_who_create_a_file_one_does(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: create_atomically(tmp_path / "a", str(n)), range(8)))
    assert made.count(True) == 1
    assert (tmp_path / "a").read_text() == str(made.index(True))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    with directory_atomically(tmp_path / "a") as partial:
        (partial / "b").write_text("x")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "b").read_text() == "x"


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    """By who writes under the same name."""
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "old").write_text("x")
    with directory_atomically(tmp_path / "a", partial=tmp_path / "half"):
        pass
    assert list((tmp_path / "a").iterdir()) == []


def test_a_folder_that_another_writer_made_stays(tmp_path: Path) -> None:
    with directory_atomically(tmp_path / "a", or_keep=True) as partial:
        (partial / "mine").write_text("x")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "theirs").write_text("x")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["theirs"]
    with pytest.raises(OSError, match="not empty"), directory_atomically(tmp_path / "a"):
        pass


def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = make_private(tmp_path / "a")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("kept")
    assert make_private(path).read_text() == "kept"
