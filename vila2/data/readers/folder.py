"""Images in a folder, with `captions.csv`, or a `.txt` or `.json` beside each."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from vila2.data.errors import DataError
from vila2.data.images.formats import FILES, SUFFIXES
from vila2.data.readers.base import Reader, ReadOptions
from vila2.data.readers.csv_rows import read_csv
from vila2.data.readers.files.image_files import ImageFiles
from vila2.data.readers.files.splits import chosen_splits, split_folder
from vila2.data.readers.files.tree import inside, linked_folders, walk_files
from vila2.data.readers.json_rows import parse_json
from vila2.data.readers.keys import Keys
from vila2.data.sample import RawSample
from vila2.data.text import decode
from vila2.data.writers.csv_cells import unescape_cell

IMAGES = SUFFIXES.keys()
TABLE = "captions.csv"
_NOT_DATA = {TABLE, "README.md", "LICENSE", "SOURCE.txt", "provenance.jsonl"}
# What an export of captions beside the images replaced.
_BACKUP = re.compile(r".*\.txt\.bak[0-9]*")
_MAX_TEXT_BYTES = 1 << 20
_CAPTION_KEYS = ("caption", "text", "alt_text")


class FolderReader(Reader):
    """Reads images below a folder, recursively; hidden files are left out.

    With a `captions.csv` (columns `image`, `caption`, or those that the options name; others
    ignored) the table is authoritative: all captions of an image are kept, in order; an image
    without a row is reported as `caption-missing`. Else a `.txt` or `.json` of the same name holds
    the text (`.txt` first). Files that are neither images nor captions are reported as `file-
    unknown`, links to folders as `link-to-folder`, so that nothing is ignored silently. Images may
    be in `images/` even if the table omits that prefix. Without a table, of several folders of
    splits (`train/`, `test/`) one must be chosen, or all.
    """

    fields = ("image_field", "caption_field", "encoding", "split")
    looks_like = (
        "a folder of images with captions.csv (image,caption), or .txt or .json beside them"
    )

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path, options)
        if not path.is_dir():
            raise DataError("is not a folder", file=str(path), fix="Give the folder of images")
        self._files, self._links = self._of_split(*walk_files(path))
        self._named = ImageFiles(path)
        self._images = [name for name in self._files if _is_image(name)]
        if not self._images and not self._links:
            raise DataError("holds no image", file=str(path), fix=f"Put {FILES} files into it")

    @property
    def bare(self) -> bool:
        """Whether there are images alone, without a single text: they are to be captioned."""
        texts = {PurePosixPath(name).suffix.lower() for name in self._files} & {".txt", ".json"}
        return not texts and TABLE not in self._files

    def follows(self, name: str, path: Path) -> bool:
        """Only links to files below the folder."""
        return inside(self.path, path)

    def count(self) -> int | None:
        """Number of image files; `read` yields one sample for each, and the problems."""
        return len(self._images)

    def read(self) -> Iterator[RawSample]:
        """Images in the order of the table, else by path; then leftover files as problems."""
        keys = Keys()
        table = self.path / TABLE
        yield from self._read_table(table, keys) if table.is_file() else self._read_beside(keys)
        yield from linked_folders(self.path, keys)

    def _of_split(
        self, files: dict[str, None], links: list[str]
    ) -> tuple[dict[str, None], list[str]]:
        """The files to read: all of them, or those that are not in folders of other splits."""
        splits = Counter(split_folder(name) for name in files if _is_image(name))
        named = {name: count for name, count in splits.items() if name}
        wanted = self.options.split
        if TABLE in files and wanted:
            raise DataError(
                f"{TABLE} says what is read, not a split", file=str(self.path), field="split",
                fix="Leave --split out, and leave rows out of the table",
            )  # fmt: skip
        if TABLE in files or (len(named) < 2 and not wanted):
            return files, links
        left_out = named.keys() - chosen_splits(self.path, named, wanted)
        return {name: None for name in files if split_folder(name) not in left_out}, links

    def _read_table(self, table: Path, keys: Keys) -> Iterator[RawSample]:
        captions: dict[str, list[str]] = {}
        for number, name, caption, wrong in self._rows(table):
            if wrong:
                where, problem = f"{TABLE} line {number}", f"row-malformed: {wrong}"
                yield RawSample(f"line-{number}", where, None, problem=problem)
            else:
                captions.setdefault(name, []).append(caption)
        used: set[str] = set()
        for name, texts in captions.items():
            loaded = self._named.load(name)
            path = os.path.normpath(name)
            used.add(loaded.name if loaded.data is not None else path)
            if path not in self._files:
                used.add(f"images/{path}")
            yield RawSample(
                keys.of_file(path), name, loaded.data, texts[0], problem=loaded.problem,
                more_captions=tuple(texts[1:]),
            )  # fmt: skip
        yield from self._left_over(used, f"no row of {TABLE} names it", keys)

    def _rows(self, table: Path) -> Iterator[tuple[int, str, str, str]]:
        """Line number, image, caption, and what is wrong with the row."""
        named = (self.options.image_field or "image", self.options.caption_field or "caption")
        at = -1

        def begins_row(cells: Sequence[str]) -> bool:
            return 0 <= at < len(cells) > 1 and self._named.find(cells[at]) is not None

        header, rows = read_csv(table, encoding=self.options.encoding, begins_row=begins_row)
        missing = [name for name in named if name not in header]
        if missing:
            raise _no_column(table, header, missing)
        at, caption = (header.index(name) for name in named)
        for row in rows:
            if row.problem:
                yield row.line, "", "", row.problem
            else:
                cells = unescape_cell(row.cells[at]), unescape_cell(row.cells[caption])
                yield row.line, *cells, ""

    def _read_beside(self, keys: Keys) -> Iterator[RawSample]:
        used: set[str] = set()
        for name in self._images:
            path = PurePosixPath(name)
            beside = [str(path.with_suffix(suffix)) for suffix in (".txt", ".json")]
            held = [text for each in beside for text in self._beside(each)]
            if held or self.options.captionless:
                used.update((name, *held))
                loaded = self._named.load(name)
                caption, problem = None, loaded.problem
                if problem is None and held:
                    caption, problem = _text_of(self.path / held[0], self.options.encoding)
                yield RawSample(keys.of_file(name), name, loaded.data, caption, problem=problem)
        yield from self._left_over(used, "there is no .txt or .json of its name beside it", keys)

    def _beside(self, text: str) -> list[str]:
        """The file of this name, or the only one that differs in its Unicode form alone."""
        if text in self._files:
            return [text]
        alike = [] if text.isascii() else self._named.same_name(text)
        return alike if len(alike) == 1 and alike[0] in self._files else []

    def _left_over(self, used: set[str], why: str, keys: Keys) -> Iterator[RawSample]:
        for name in self._files:
            path = PurePosixPath(name)
            if name in used or path.name in _NOT_DATA or _BACKUP.fullmatch(path.name):
                continue
            if path.suffix.lower() in IMAGES:
                problem = (
                    f"caption-missing: {why}; give it a caption, or admit images without text by "
                    "--captionless"
                )
            elif path.suffix.lower() in (".txt", ".json"):
                problem = "image-missing: a text without an image of its name; add it"
            else:
                problem = f"file-unknown: neither an image ({FILES}) nor a caption"
            yield RawSample(keys.of_file(name), name, None, problem=problem)


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGES


def _no_column(table: Path, header: Sequence[str], missing: list[str]) -> DataError:
    fix = "Begin the file with the line: image,caption; or name its columns as the options do"
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        fix = "Separate the columns with commas"
    return DataError(
        f"has no column {', '.join(missing)}: its first line is {','.join(header)[:200]!r}",
        file=str(table),
        field=", ".join(missing),
        fix=fix,
    )


def _text_of(path: Path, encoding: str) -> tuple[str | None, str | None]:
    """The caption in a text or JSON file, or `None` and the problem."""
    try:
        with path.open("rb") as opened:
            data = opened.read(_MAX_TEXT_BYTES + 1)
    except OSError as error:
        return None, f"caption-unreadable: {error}; check the file's permissions"
    if len(data) > _MAX_TEXT_BYTES:
        return None, f"caption-too-long: {path.name} has more than 1 MiB; shorten it"
    text = decode(data, encoding)
    if path.suffix.lower() != ".json":
        return text, None
    try:
        about = parse_json(text)
    except ValueError as error:
        return None, f'json-malformed: {path.name}: {error}; write {{"caption": "..."}}'
    held = about if isinstance(about, dict) else {}
    caption = next((held[k] for k in _CAPTION_KEYS if isinstance(held.get(k), str)), None)
    if caption is None:
        return None, f"caption-missing: {path.name} has none of the fields {_CAPTION_KEYS}; add one"
    return caption, None
