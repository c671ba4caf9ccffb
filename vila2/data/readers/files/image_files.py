"""Files that a table names: found below one folder, also under another Unicode form of the name.

Archives from a Mac hold names with their accents apart (NFD), which tables write as one character.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vila2.data.tar.reading import MAX_MEMBER_BYTES


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image's bytes and its path below the folder; or what is wrong with it."""

    name: str
    data: bytes | None = None
    problem: str | None = None


class ImageFiles:
    """The files below a folder; those in its `images/` are also found without that prefix.

    Links and paths that leave the folder are refused, so a table cannot read files outside.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def load(self, relative: str) -> Loaded:
        """The bytes of a file, by its name or by the only one that differs in its Unicode form."""
        try:
            if any(part.startswith(".") and part not in (".", "..")
                   for part in PurePosixPath(relative).parts):  # fmt: skip
                problem = f"image-hidden: {relative!r} is a hidden file; rename it"
                return Loaded(relative, problem=problem)
            found = self._find(relative)
            inside = self._root.resolve()
            # Also of a path that leads nowhere: whether it is outside counts first.
            target = (self._root / (found or relative)).resolve()
            if not target.is_relative_to(inside):
                return Loaded(relative, problem=(
                    f"path-outside: {relative!r} lies outside the folder; copy the image into "
                    "the folder and name it relative to it"
                ))  # fmt: skip
            if found is None:
                return Loaded(relative, problem=self._missing(relative))
            size = target.stat().st_size
            if size > MAX_MEMBER_BYTES:
                return Loaded(found, problem=(
                    f"image-too-large-bytes: the file has {size:,} bytes; save it with more "
                    "compression"
                ))  # fmt: skip
            return Loaded(found, target.read_bytes())
        except (OSError, RuntimeError, ValueError) as error:
            problem = f"image-unreadable: {error}; check the file's name and permissions"
            return Loaded(relative, problem=problem)

    def find(self, relative: str) -> str | None:
        """The path below the folder that `load` reads, or `None`."""
        try:
            return self._find(relative)
        except (OSError, RuntimeError, ValueError):
            return None

    def place(self, relative: str) -> str | None:
        """The path below the folder of a file or link of this name; `None` if there is none."""
        found = self.find(relative)
        if found is None and not relative.startswith(("..", "/")):
            plain = os.path.normpath(relative)
            places = (plain, f"images/{plain}")
            found = next((p for p in places if os.path.lexists(self._root / p)), None)
        outside = found is not None and found.startswith(("..", "/"))
        return None if outside else found

    def same_name(self, relative: str) -> list[str]:
        """Paths that are equal to this one but for their Unicode form; itself if it is there."""
        found = [""]
        for part in PurePosixPath(relative).parts:
            found = [f"{at}{name}/" for at in found for name in self._like(self._root / at, part)]
        return [at.rstrip("/") for at in found]

    def _find(self, relative: str) -> str | None:
        plain = os.path.normpath(relative)
        inside = not plain.startswith(("..", "/"))
        places = (plain, f"images/{plain}") if inside else (plain,)
        for place in places:
            if (self._root / place).is_file():
                return place
        alike = [held for place in places for held in self._only(place)]
        return alike[0] if alike else None

    def _only(self, place: str) -> list[str]:
        alike = self.same_name(place)
        return alike if len(alike) == 1 and (self._root / alike[0]).is_file() else []

    def _like(self, folder: Path, part: str) -> list[str]:
        if part in ("..", "/") or os.path.lexists(folder / part):
            return [part]
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            for name in sorted(f.name for f in folder.iterdir()) if folder.is_dir() else ():
                names.setdefault(_composed(name), []).append(name)
            self._listed[folder] = names
        return self._listed[folder].get(_composed(part), [])

    def _missing(self, relative: str) -> str:
        alike = self.same_name(relative)
        if len(alike) > 1:
            shown = ", ".join(ascii(name) for name in alike[:3])
            return (
                f"image-ambiguous: {relative!a} may be any of {shown}, which differ in their "
                "Unicode form; name one exactly"
            )
        return f"image-missing: there is no file {relative!r}; add it or drop its row"


def load_image(root: Path, relative: str) -> tuple[bytes | None, str | None]:
    """Bytes of `root/relative`, or of `root/images/relative`; else `None` and the problem."""
    loaded = ImageFiles(root).load(relative)
    return loaded.data, loaded.problem


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
