"""What every adapter of the object store must do: one suite, run over each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.objects import ObjectStore, checked
from services.chassis.objects_directory import DirectoryObjects

ADAPTERS: dict[str, Callable[[Path], ObjectStore]] = {"directory": DirectoryObjects}
BAD_KEYS = (
    "../x", "/x", "a//b", ".hidden", "a/../b", "a/.hidden", "", ".", "..", "a/", "a b", "a\\b",
    "a\n", "a\x00b", "x" * 901, "-/../x",
)  # fmt: skip


@pytest.fixture(params=sorted(ADAPTERS))
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return ADAPTERS[request.param](tmp_path / "objects")


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
        objects.put("a/x", "not bytes")  # type: ignore[arg-type]
    assert not objects.exists("a/x")
    assert list((tmp_path / "a").iterdir()) == []
