"""Hugging Face's `imagefolder`: images, `metadata.csv` or `.jsonl`, folders for splits."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vila2.data.errors import DataError
from vila2.data.images.formats import FILES, SUFFIXES
from vila2.data.readers.base import Reader, ReadOptions
from vila2.data.readers.files.image_files import ImageFiles
from vila2.data.readers.files.splits import chosen_splits, split_folder
from vila2.data.readers.files.tree import inside, linked_folders, walk_files
from vila2.data.readers.formats import METADATA
from vila2.data.readers.imagefolder.metadata import MetadataRow, metadata_rows
from vila2.data.readers.keys import Keys
from vila2.data.sample import RawSample

_NOT_DATA = {*METADATA, "README.md", "LICENSE", "provenance.jsonl"}


class ImageFolderReader(Reader):
    """Reads images below a folder, with the captions that its metadata tables give them.

    A table may be in any folder, and names images relative to that folder in `file_name`; its
    captions are in the column that the options name, else the first of the usual names, and all of
    an image are kept. `train/`, `test/` and the like are splits: if there are several, one must be
    chosen, or all. Names of other folders are in each sample's source; they are not captions.
    Without any table the images are to be captioned. An image without a row is `caption-missing`,
    and any other file `file-unknown`.
    """

    fields = ("image_field", "caption_field", "encoding", "split")
    looks_like = "a folder of images with metadata.csv or metadata.jsonl (file_name, caption)"

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path, options)
        if not path.is_dir():
            raise DataError("is not a folder", file=str(path), fix=f"Give {self.looks_like}")
        files, links = walk_files(path)
        splits = Counter(split_folder(name) for name in files if _is_image(name))
        if not splits and not links:
            raise DataError("holds no image", file=str(path), fix=f"Put {FILES} files into it")
        chosen = chosen_splits(path, splits, self.options.split)
        self._not_chosen = splits.keys() - chosen
        self._files = [name for name in files if split_folder(name) not in self._not_chosen]
        # A table above the folders of splits may name images of all of them.
        self._tables = [
            name for name in files
            if PurePosixPath(name).name in METADATA
            and split_folder(name) not in self._not_chosen - {""}
        ]  # fmt: skip
        folders = Counter(posixpath.dirname(name) for name in self._tables)
        twice = next((folder for folder, held in folders.items() if held > 1), None)
        if twice is not None:
            raise DataError(
                f"holds several of {', '.join(METADATA)}", file=str(path / twice), fix="Keep one"
            )
        self._named = ImageFiles(path)

    @property
    def bare(self) -> bool:
        """Whether there is no table of captions: the images are to be captioned."""
        return not self._tables

    def follows(self, name: str, path: Path) -> bool:
        """Only links to files below the folder."""
        return inside(self.path, path)

    def count(self) -> int | None:
        """Number of image files; `read` yields one sample for each, and the problems."""
        return sum(map(_is_image, self._files))

    def read(self) -> Iterator[RawSample]:
        """Images in the order of the tables; then those without a row, and other files."""
        keys, texts, ids = Keys(), dict[str, list[str]](), dict[str, str]()
        for table in self._tables:
            for row in self._rows(table):
                where = posixpath.join(posixpath.dirname(table), row.where)
                if row.problem:
                    problem = f"row-malformed: {row.problem}"
                    yield RawSample(keys.of(where, source=where), where, None, problem=problem)
                    continue
                name = posixpath.normpath(posixpath.join(posixpath.dirname(table), row.name))
                found = self._named.find(name) or name
                if split_folder(found) in self._not_chosen:
                    continue
                texts.setdefault(found, []).extend(row.texts)
                ids.setdefault(found, row.key)
        for name, held in texts.items():
            loaded = self._named.load(name)
            missing = loaded.problem
            if not held and not self.options.captionless:
                missing = missing or "caption-missing: its row has no text; give it one"
            key = keys.of(ids[name], source=name) if ids[name] else keys.of_file(name)
            yield RawSample(
                key, name, loaded.data, held[0] if held else None, problem=missing,
                more_captions=tuple(held[1:]),
            )  # fmt: skip
        yield from self._left_over(set(texts), keys)
        yield from linked_folders(self.path, keys)

    def _rows(self, table: str) -> Iterator[MetadataRow]:
        folder = posixpath.dirname(table)

        def is_image(cell: str) -> bool:
            return self._named.find(posixpath.join(folder, cell)) is not None

        return metadata_rows(self.path / table, self.options, is_image)

    def _left_over(self, used: set[str], keys: Keys) -> Iterator[RawSample]:
        for name in self._files:
            if name in used or PurePosixPath(name).name in _NOT_DATA:
                continue
            if not _is_image(name):
                problem = f"file-unknown: neither an image ({FILES}) nor a table of captions"
                yield RawSample(keys.of_file(name), name, None, problem=problem)
            elif self.options.captionless:
                loaded = self._named.load(name)
                yield RawSample(keys.of_file(name), name, loaded.data, problem=loaded.problem)
            else:
                problem = (
                    "caption-missing: no row of a metadata table names it; add one, or admit "
                    "images without text by --captionless"
                )
                yield RawSample(keys.of_file(name), name, None, problem=problem)


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES
