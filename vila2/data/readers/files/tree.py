"""The files of a submission, so that the store reads what the client would have read.

An upload knows plain files with plain names. What else is in a folder travels in a list of its own
(`TREE`), and is laid out again: links that are not followed become links that lead nowhere, and odd
names come back. Nothing that a client says makes a link to anything of the store.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vila2.data.errors import DataError
from vila2.data.readers.keys import Keys
from vila2.data.readers.names import is_hidden
from vila2.data.sample import RawSample

TREE = ".tree.jsonl"
ODD = ".odd"
MAX_TREE_BYTES = 64 * 1024 * 1024
_SEGMENT = re.compile(r"[^\x00-\x1f/\\]{1,200}")
_ODD = re.compile(rf"{re.escape(ODD)}/[0-9]{{1,9}}")
_MAX_NAME, _MAX_SEGMENT = 300, 255  # characters of a plain name; bytes of a file system's

# A plain file; a link out of the folder, to nothing, to itself, or to a folder.
Kind = Literal["file", "outside", "missing", "circle", "folder"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or link: its path below the root, and where it is."""

    name: str
    path: Path
    kind: Kind = "file"


@dataclass(frozen=True, slots=True)
class Tree:
    """A submission: entries in order of name, and the one that is to be read, or all (empty)."""

    entries: tuple[Entry, ...]
    entry: str = ""

    def files(self) -> Iterator[tuple[str, Path]]:
        """Plain files by the name under which they are sent."""
        odd = 0
        for each in self.entries:
            if each.kind == "file":
                plain = is_plain(each.name)
                odd += not plain
                yield each.name if plain else f"{ODD}/{odd:06d}", each.path

    def listing(self) -> bytes:
        """The content of `TREE`: what plain files of plain names do not say; may be empty."""
        rows: list[dict[str, str]] = [{"read": self.entry}] if self.entry else []
        sent = dict(
            zip((e.name for e in self.entries if e.kind == "file"), self.files(), strict=True)
        )
        for each in self.entries:
            if each.kind != "file":
                rows.append({"name": each.name, "kind": each.kind})
            elif sent[each.name][0] != each.name:
                rows.append({"name": each.name, "sent": sent[each.name][0]})
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    def bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for _, path in self.files())


def is_plain(name: str) -> bool:
    """Whether a name can be sent as it is: a relative path of visible, printable segments."""
    segments = name.split("/")
    plain = all(_SEGMENT.fullmatch(s) and not s.startswith(".") for s in segments)
    return plain and len(name) <= _MAX_NAME and not re.search("[\ud800-\udfff]", name)


def is_sent(name: str) -> bool:
    """Whether the store takes a file of this name."""
    return is_plain(name) or name == TREE or _ODD.fullmatch(name) is not None


def tree_of(root: Path, *, follows: Callable[[str, Path], bool]) -> Tree:
    """Everything below a folder but hidden files; `follows` says which links are read as files."""
    entries = [_entry(name, root / name, follows) for name in _names(root)]
    return Tree(tuple(sorted(entries, key=lambda each: each.name)))


def entries_of(root: Path, names: Iterable[str], follows: Callable[[str, Path], bool]) -> Tree:
    """Some files below a folder."""
    kept = [_entry(name, root / name, follows) for name in dict.fromkeys(names)]
    return Tree(tuple(sorted(kept, key=lambda each: each.name)))


def walk_files(root: Path) -> tuple[dict[str, None], list[str]]:
    """Relative paths of all files, as an ordered set, and of links to folders; none hidden."""
    names = list(_names(root))
    links = [name for name in names if (root / name).is_dir()]
    return dict.fromkeys(sorted(set(names) - set(links))), sorted(links)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder itself, not a link to one."""
    return path.is_dir() and not path.is_symlink()


def linked_folders(root: Path, keys: Keys) -> Iterator[RawSample]:
    """A problem for each link to a folder below the root: none is followed."""
    for name in walk_files(root)[1]:
        problem = "link-to-folder: is not followed; copy the folder itself"
        yield RawSample(keys.of_file(name), name, None, problem=problem)


def inside(root: Path, path: Path) -> bool:
    """Whether a path leads to a file below the root, through links or not."""
    try:
        return path.resolve().is_relative_to(root.resolve()) and path.is_file()
    except (OSError, RuntimeError):  # links in a circle
        return False


def _names(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = [name for name in folders if not is_hidden(name)]
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*links, *(name for name in names if not is_hidden(name))):
            yield (here / name).relative_to(root).as_posix()


def _entry(name: str, path: Path, follows: Callable[[str, Path], bool]) -> Entry:
    if path.is_dir():
        return Entry(name, path, "folder")
    if not path.is_file():
        return Entry(name, path, "circle" if _in_circle(path) else "missing")
    return (
        Entry(name, path)
        if not path.is_symlink() or follows(name, path)
        else Entry(name, path, "outside")
    )


def _in_circle(path: Path) -> bool:
    try:
        path.resolve()
    except (OSError, RuntimeError):
        return True
    return False


def lay_out(root: Path, listing: bytes) -> Path:
    """Apply a `TREE` to the files that were sent to `root`; returns what is to be read.

    Raises `DataError` for a listing that is malformed or names what it must not.
    """
    read = root
    try:
        for line in listing.splitlines():
            row = json.loads(line)
            if "read" in row:
                read = root / _safe(row["read"])
                continue
            target = root / _safe(row["name"])
            target.parent.mkdir(parents=True, exist_ok=True)
            if "sent" in row:
                if not _ODD.fullmatch(row["sent"]):
                    raise ValueError(f"{row['sent']!r} is not a name of {ODD}")
                (root / row["sent"]).rename(target)
            else:
                target.symlink_to(_leads(root, row["kind"], target))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DataError(
            f"the list of files is malformed ({error!r})"[:500],
            field=TREE,
            fix="Submit it again with `vila2 datasets submit` or the Python client",
        ) from error
    return read


def _leads(root: Path, kind: str, link: Path) -> Path:
    """Where a link of this kind leads: to an empty folder, to itself, or nowhere."""
    if kind == "circle":
        return link
    if kind == "folder":
        empty = root.with_name(f"{root.name}-elsewhere")
        empty.mkdir(exist_ok=True)
        return empty
    if kind == "missing":
        return root / ".missing"
    if kind == "outside":
        return root.with_name(f"{root.name}-outside")
    raise ValueError(f"unknown kind {kind!r}")


def _safe(name: str) -> str:
    """`name`; raises `ValueError` unless it is a visible path below the root."""
    for segment in name.split("/"):
        odd = not segment or segment.startswith(".") or "\0" in segment
        if odd or len(os.fsencode(segment)) > _MAX_SEGMENT:
            raise ValueError(f"{name[:100]!r} is no visible path below the folder")
    return name
