"""Captions beside the user's own images: `a/b/IMG 1.txt` for `a/b/IMG 1.jpg`.

No image is touched, and no text is lost: a `.txt` with another text is kept, or with `overwrite`
kept as `.txt.bak`. Paths come from a listing of the folder, never from a sample, so no sample can
name a file outside it.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vila2.data.errors import DataError
from vila2.data.readers.files.tree import walk_files
from vila2.data.readers.folder import IMAGES
from vila2.data.text import clean_name, clean_text
from vila2.data.writers.captioned import Captioned
from vila2.system.files import write_atomically

FORMAT = "sidecars"
EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A text and where it goes: the path of its image in the folder, and its own."""

    image: str
    target: str
    text: str


@dataclass
class Left:
    """What got no text, and the first `EXAMPLES` of it by name."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more."""
        self.count += 1
        self.examples += [name] if self.count <= EXAMPLES else []


@dataclass
class SidecarSummary:
    """Counts of an export; each exported sample is in one of them, but for those of `extra`.

    `written` files are new, `replaced` ones had another text that is now in a `.txt.bak`, and
    `unchanged` ones had this text. `kept` had another text and still have it; `missing` samples
    have no image in the folder; `changed` images are not those that were captioned; `shared` ones
    have an image of the same name beside them whose caption is another or none. `extra` counts the
    folder's images that have no caption in the export.
    """

    written: int = 0
    replaced: int = 0
    unchanged: int = 0
    kept: Left = field(default_factory=Left)
    missing: Left = field(default_factory=Left)
    changed: Left = field(default_factory=Left)
    shared: Left = field(default_factory=Left)
    extra: Left = field(default_factory=Left)


def write_sidecars(
    samples: Iterable[Captioned],
    folder: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> SidecarSummary:
    """Write each sample's text beside its image in `folder`; images' bytes need not be given.

    A sample's image is the file at its source's path that has its digest. May run again: what is
    written is then unchanged. Raises `DataError` if no sample has an image in the folder.
    """
    check_folder(folder)
    files = [name for name in walk_files(folder)[0] if PurePosixPath(name).suffix.lower() in IMAGES]
    summary = SidecarSummary()
    found = _found(samples, files, folder, summary, progress)
    for sidecar in settle(found, files, summary):
        _put(folder, sidecar, overwrite, summary)
    return summary


def check_folder(folder: Path) -> None:
    """Raise `DataError` if `folder` is none that can hold the images."""
    if not folder.is_dir():
        raise DataError(
            "is not a folder", file=str(folder), fix="Name the folder that was submitted"
        )


def settle(
    found: Iterable[Sidecar], images: Iterable[str], summary: SidecarSummary
) -> list[Sidecar]:
    """The texts to write: all but those whose file would be that of another image too. Pure."""
    sharing: dict[str, list[str]] = defaultdict(list)
    for image in images:
        sharing[target_of(image)].append(image)
    texts = {sidecar.image: sidecar for sidecar in found}
    settled = []
    for group in sharing.values():
        held = [texts.get(image) for image in group]
        told = [sidecar for sidecar in held if sidecar is not None]
        if told and len({sidecar.text if sidecar else None for sidecar in held}) > 1:
            for sidecar in told:
                summary.shared.add(sidecar.image)
        elif told:
            settled.append(told[0])
            summary.unchanged += len(told) - 1  # one file is the text of all of them
        for image in group:
            if image not in texts:
                summary.extra.add(image)
    return settled


def target_of(image: str) -> str:
    """The path of an image's text."""
    return PurePosixPath(image).with_suffix(".txt").as_posix()


class Places:
    """The images of a folder by what the reader of folders records as their source. Pure."""

    def __init__(self, images: Iterable[str]) -> None:
        self._by_path: dict[str, list[str]] = defaultdict(list)
        self._by_text: dict[str, list[str]] = defaultdict(list)
        for image in images:
            self._by_path[clean_name(image)].append(image)
            self._by_text[_as_text(image)].append(image)

    def of(self, source: str) -> list[str]:
        """The images that a source may be, the likely ones first; of most there is one."""
        path = posixpath.normpath(source) if source else ""
        named = (path, f"images/{path}") if path else ()
        exact = [image for name in named for image in self._by_path.get(name, ())]
        alike = [image for name in named for image in self._by_text.get(_as_text(name), ())]
        return list(dict.fromkeys(exact + alike))


def _as_text(path: str) -> str:
    """A path in one Unicode form and with single blanks, as some file systems and tools make it."""
    return clean_text(path)[:500]


def _found(
    samples: Iterable[Captioned],
    files: list[str],
    folder: Path,
    summary: SidecarSummary,
    progress: Callable[[int], None],
) -> list[Sidecar]:
    places, found, sources = Places(files), [], []
    for number, captioned in enumerate(samples, 1):
        sample = captioned.sample
        images = places.of(sample.source)
        image = next((name for name in images if _digest(folder / name) == sample.sha256), None)
        if image is not None:
            found.append(Sidecar(image, target_of(image), captioned.text))
        elif images:
            summary.changed.add(images[0])
        else:
            summary.missing.add(sample.source or sample.key)
        sources += [sample.source or sample.key] if number <= 3 else []
        progress(number)
    if not found and sources:
        theirs = ", ".join(repr(name) for name in files[:3]) or "no image"
        told = "images have changed since" if summary.changed.count else f"it has {theirs}"
        raise DataError(
            f"none of the samples ({', '.join(repr(name[:100]) for name in sources)}, ...) has its "
            f"image there: {told}",
            file=str(folder),
            fix="Name the folder that was submitted; `--format txt` writes images and captions",
        )
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _put(folder: Path, sidecar: Sidecar, overwrite: bool, summary: SidecarSummary) -> None:
    path = folder / sidecar.target
    if not os.path.lexists(path):
        write_atomically(path, sidecar.text)
        summary.written += 1
    elif path.is_file() and _same(path, sidecar.text):
        summary.unchanged += 1
    elif overwrite and not path.is_dir():
        path.rename(next(name for name in _backups(path) if not os.path.lexists(name)))
        write_atomically(path, sidecar.text)
        summary.replaced += 1
    else:
        summary.kept.add(sidecar.target)


def _same(path: Path, text: str) -> bool:
    # Editors add line ends; a caption is the same with them.
    return path.read_bytes().decode("utf-8-sig", "replace").strip() == text.strip()


def _backups(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.bak")
    number = 2
    while True:
        yield path.with_name(f"{path.name}.bak{number}")
        number += 1
