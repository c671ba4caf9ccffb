"""Pictures in a folder, with `captions.csv` or a `.txt` beside each."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from vila2.data.errors import DataError
from vila2.data.readers.base import Reader, read_inside
from vila2.data.readers.keys import key_of_path
from vila2.data.sample import RawSample

PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
TABLE = "captions.csv"


class FolderReader(Reader):
    """Reads pictures below a folder, recursively; hidden files are left out.

    With a `captions.csv` (columns `image`, `caption`) the table says what there is: the first
    caption of a picture is its text, a further one is reported as `caption-extra`, a picture
    without a row as `caption-missing`. Files that are neither pictures nor captions are reported
    as `file-unknown`, so that nothing in the folder passes unseen.
    """

    looks_like = "a folder of pictures with captions.csv (image,caption) or .txt files beside them"
    _NOT_DATA: ClassVar[set[str]] = {TABLE, "README.md", "LICENSE", "SOURCE.txt"}

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if not path.is_dir():
            raise DataError("is not a folder", file=str(path), fix="Give the folder of pictures")
        self._files = sorted(
            p.relative_to(path).as_posix()
            for p in path.rglob("*")
            if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
        )
        if not any(Path(f).suffix.lower() in PICTURES for f in self._files):
            raise DataError(
                "holds no picture", file=str(path), fix="Put .jpg, .png or .webp files into it"
            )

    def count(self) -> int | None:
        """Number of picture files."""
        return sum(Path(f).suffix.lower() in PICTURES for f in self._files)

    def read(self) -> Iterator[RawSample]:
        """Pictures in the order of their paths, then what could not be paired."""
        if (self.path / TABLE).is_file():
            yield from self._read_table()
        else:
            yield from self._read_beside()

    def _picture(self, name: str, caption: str | None, problem: str | None = None) -> RawSample:
        image = read_inside(self.path, name)
        return RawSample(key_of_path(name), name, image, caption, problem=problem)

    def _read_table(self) -> Iterator[RawSample]:
        captions: dict[str, list[str]] = {}
        for number, row in enumerate(self._rows(), 2):
            name, caption = row
            if name is None or caption is None:
                where = f"{TABLE} line {number}"
                yield RawSample(
                    f"{TABLE}-{number}",
                    where,
                    None,
                    problem="row-malformed: needs the two columns image and caption",
                )
                continue
            captions.setdefault(name, []).append(caption)
        folders = {""} | ({"images/"} if (self.path / "images").is_dir() else set())
        used: set[str] = set()
        for name, texts in captions.items():
            found = next((f + name for f in sorted(folders) if (self.path / f / name).is_file()), name)
            used.add(found)
            yield self._picture(found, texts[0])
            for extra in range(1, len(texts)):
                yield RawSample(
                    f"{name}-{extra}",
                    name,
                    None,
                    problem="caption-extra: a further caption of one picture is not used; "
                    "use --format llava to keep several texts",
                )
        for name in self._files:
            if name in used or Path(name).name in self._NOT_DATA:
                continue
            if Path(name).suffix.lower() in PICTURES:
                yield self._picture(
                    name, None, f"caption-missing: no row of {TABLE} names it; add image and caption"
                )
            else:
                yield self._unknown(name)

    def _rows(self) -> Iterator[tuple[str | None, str | None]]:
        with (self.path / TABLE).open(newline="", encoding="utf-8", errors="replace") as lines:
            table = csv.DictReader(lines)
            missing = {"image", "caption"} - set(table.fieldnames or ())
            if missing:
                raise DataError(
                    f"has no column {', '.join(sorted(missing))}",
                    file=str(self.path / TABLE),
                    field=", ".join(sorted(missing)),
                    fix="Begin the file with the line: image,caption",
                )
            for row in table:
                yield row["image"], row["caption"]

    def _read_beside(self) -> Iterator[RawSample]:
        texts = {f for f in self._files if f.endswith(".txt")}
        for name in self._files:
            if Path(name).suffix.lower() not in PICTURES:
                continue
            beside = str(Path(name).with_suffix(".txt").as_posix())
            if beside in texts:
                texts.discard(beside)
                data = read_inside(self.path, beside) or b""
                yield self._picture(name, data.decode("utf-8", "replace"))
            else:
                yield self._picture(
                    name, None, f"caption-missing: no {beside} beside it; write one, or captions.csv"
                )
        pictures = {f for f in self._files if Path(f).suffix.lower() in PICTURES}
        for name in self._files:
            if name in texts and Path(name).name not in self._NOT_DATA:
                yield RawSample(
                    key_of_path(name), name, None, problem="image-missing: a text without a picture"
                )
            elif name not in pictures and not name.endswith(".txt"):
                if Path(name).name not in self._NOT_DATA:
                    yield self._unknown(name)

    @staticmethod
    def _unknown(name: str) -> RawSample:
        return RawSample(
            key_of_path(name),
            name,
            None,
            problem="file-unknown: neither a .jpg, .png, .webp picture nor a caption file",
        )
