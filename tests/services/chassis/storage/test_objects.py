"""What every adapter of the object store must do: one suite, run over each of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.storage.objects import ObjectStore, checked
from services.chassis.storage.objects_directory import DirectoryObjects
from services.chassis.storage.objects_s3 import S3Objects
from tests.support.servers.seaweedfs import S3Server

BAD_KEYS = (
    "../x", "/x", "a//b", ".hidden", "a/../b", "a/.hidden", "", ".", "..", "a/", "a b", "a\\b",
    "a\n", "a\x00b", "x" * 901, "-/../x",
)  # fmt: skip


def s3_objects(server: S3Server, bucket: str, cache: Path) -> S3Objects:
    return S3Objects(
        server.endpoint,
        bucket,
        access_key=server.access_key,
        secret_key=server.secret_key,
        cache=cache,
        secure=False,
    )


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.server)])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "directory":
        return DirectoryObjects(tmp_path / "objects")
    server = request.getfixturevalue("s3")
    return s3_objects(server, f"b-{uuid4().hex[:12]}", tmp_path / "cache")


def test_what_is_put_can_be_got(objects: ObjectStore) -> None:
    """Bytes come back as they went in, the empty ones too."""
    for key, data in {"a/b/c.tar": b"\x00\xff" * 1000, "empty": b""}.items():
        objects.put(key, data)
        assert objects.get(key) == data
        assert objects.exists(key)
        assert objects.local(key).read_bytes() == data


def test_putting_again_replaces(objects: ObjectStore) -> None:
    """The last one stands."""
    objects.put("a", b"a long first version")
    objects.put("a", b"second")
    assert objects.get("a") == b"second"


@pytest.mark.parametrize("key", ["nothing", "a/b", "a"])
def test_a_missing_object_is_a_key_error(objects: ObjectStore, key: str) -> None:
    """A prefix is not an object either."""
    objects.put("a/b/c", b"x")
    with pytest.raises(KeyError, match=key):
        objects.get(key)
    assert not objects.exists(key)


def test_an_object_is_fetched_into_a_file(objects: ObjectStore, tmp_path: Path) -> None:
    """Whole, or not at all."""
    objects.put("a/b", b"x" * 70_000)
    objects.fetch("a/b", tmp_path / "held")
    assert (tmp_path / "held").read_bytes() == b"x" * 70_000
    with pytest.raises(KeyError):
        objects.fetch("a/c", tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_without_a_prefix_all_keys_are_listed(objects: ObjectStore) -> None:
    """For who copies the whole store."""
    for key in ("b/2", "a", "b/1/x"):
        objects.put(key, b"x")
    assert list(objects.keys()) == ["a", "b/1/x", "b/2"]


def test_deleting_twice_is_deleting_once(objects: ObjectStore) -> None:
    """An object that is gone is gone, whoever removed it."""
    objects.put("a/b", b"x")
    objects.delete("a/b")
    objects.delete("a/b")
    assert not objects.exists("a/b")


def test_keys_come_sorted_and_only_from_below_the_prefix(objects: ObjectStore) -> None:
    """`a` lists what is below `a`, not `ab`."""
    for key in ("a/2", "a/10", "a/1", "a/sub/0", "a/sub-1", "ab/1", "b"):
        objects.put(key, b"x")
    assert list(objects.keys("a")) == ["a/1", "a/10", "a/2", "a/sub-1", "a/sub/0"]


def test_keys_below_nothing_are_none(objects: ObjectStore) -> None:
    """A prefix that nobody wrote to is empty, not an error."""
    assert list(objects.keys("nothing")) == []


def test_entries_have_sizes_and_times(objects: ObjectStore) -> None:
    """Those below the prefix; S3 counts whole seconds, by its own clock."""
    objects.put("a/b", b"four")
    objects.put("a/c/d", b"")
    objects.put("ab/e", b"x")
    found = {entry.key: entry for entry in objects.entries("a")}
    assert {key: entry.bytes for key, entry in found.items()} == {"a/b": 4, "a/c/d": 0}
    assert all(abs(entry.written_at - time.time()) < 60 for entry in found.values())
    assert list(objects.entries("nothing")) == []


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_could_leave_the_store_is_refused(objects: ObjectStore, key: str) -> None:
    """Every operation refuses it, with the key in the message."""
    uses: list[Callable[[], object]] = [
        lambda: objects.put(key, b"x"),
        lambda: objects.get(key),
        lambda: objects.exists(key),
        lambda: objects.delete(key),
        lambda: list(objects.keys(key)),
        lambda: objects.put_directory(key, Path(__file__).parent),
        lambda: objects.local(key),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="not an object key"):
            use()


@given(st.text(alphabet="ab./-_\\\n \x00~", max_size=12))
def test_an_accepted_key_is_a_plain_path_below_the_root(key: str) -> None:
    """Whatever passes stays below the root and has one spelling."""
    try:
        checked(key)
    except ValueError:
        return
    path = Path("/root") / key
    assert path.as_posix() == f"/root/{key}"
    assert not {"", ".", ".."} & set(key.split("/"))


def test_a_directory_is_stored_whole(objects: ObjectStore, tmp_path: Path) -> None:
    """All its files can be read below the prefix."""
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "config.json").write_bytes(b"{}")
    (model / "sub" / "weights").write_bytes(b"w")
    objects.put_directory("models/m", model)
    assert list(objects.keys("models/m")) == ["models/m/config.json", "models/m/sub/weights"]
    assert (objects.local("models/m") / "sub" / "weights").read_bytes() == b"w"


def test_storing_a_directory_again_changes_nothing(objects: ObjectStore, tmp_path: Path) -> None:
    """Directories are immutable: the first stays."""
    for text in ("first", "second"):
        (tmp_path / text).mkdir()
        (tmp_path / text / "f").write_text(text)
        objects.put_directory("models/m", tmp_path / text)
    assert objects.get("models/m/f") == b"first"


def test_what_is_half_written_is_not_listed(tmp_path: Path) -> None:
    """A writer that died leaves its partial files and folders aside; nobody sees them."""
    objects = DirectoryObjects(tmp_path)
    objects.put("a/whole", b"x")
    (tmp_path / "a" / ".partial-1").write_bytes(b"ha")
    (tmp_path / "a" / ".partial-2").mkdir()
    (tmp_path / "a" / ".partial-2" / "config.json").write_bytes(b"{")
    assert list(objects.keys("a")) == ["a/whole"]


def test_a_write_that_fails_leaves_no_object_and_no_rest(tmp_path: Path) -> None:
    """What cannot be written whole is not there at all."""
    objects = DirectoryObjects(tmp_path)
    with pytest.raises(TypeError):
        objects.put("a/x", None)  # type: ignore[arg-type]
    assert not objects.exists("a/x")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_directory_whose_upload_died_is_stored_by_the_next_try(
    s3: S3Server, tmp_path: Path
) -> None:
    """Files without the closing mark are no directory: the next writer uploads all of them."""
    objects = s3_objects(s3, f"b-{uuid4().hex[:12]}", tmp_path / "cache")
    model = tmp_path / "model"
    model.mkdir()
    for name in ("a", "b"):
        (model / name).write_text("whole")
    objects.put("models/m/a", b"ha")  # all that the writer that died got done
    objects.put_directory("models/m", model)
    assert [objects.get(key) for key in objects.keys("models/m")] == [b"whole", b"whole"]


def test_a_cached_object_that_was_replaced_is_fetched_again(s3: S3Server, tmp_path: Path) -> None:
    """The cache goes by content, so it never shows what is gone."""
    objects = s3_objects(s3, f"b-{uuid4().hex[:12]}", tmp_path / "cache")
    for text in (b"first", b"second"):
        objects.put("a/b.txt", text)
        assert objects.local("a/b.txt").read_bytes() == text
        assert objects.local("a/b.txt").name == "b.txt"


def test_a_large_object_goes_up_in_parts(s3: S3Server, tmp_path: Path) -> None:
    """Above the client's part size of 5 MiB, S3 sees several parts and joins them."""
    objects = s3_objects(s3, f"b-{uuid4().hex[:12]}", tmp_path / "cache")
    data = bytes(range(256)) * 4096 * 12
    objects.put("big", data)
    assert objects.get("big") == data


def test_of_many_that_put_if_absent_at_once_one_does(objects: ObjectStore) -> None:
    """The others are told, and what stands there is the winner's."""
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda n: objects.put_if_absent("a/b", b"%d" % n), range(8)))
    assert stored.count(True) == 1
    assert objects.get("a/b") == b"%d" % stored.index(True)
    assert not objects.put_if_absent("a/b", b"again")
    assert list(objects.keys("a")) == ["a/b"]


@pytest.mark.parametrize("size", [0, 1000, 12 * 1024 * 1024])
def test_a_file_is_put_as_its_bytes_are(objects: ObjectStore, tmp_path: Path, size: int) -> None:
    """Also one that S3 takes in several parts."""
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    objects.put_file("some/file.bin", file)
    assert objects.get("some/file.bin") == file.read_bytes()
    assert file.exists()
