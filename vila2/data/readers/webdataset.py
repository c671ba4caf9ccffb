"""WebDataset tars as others write them: `key.jpg` with `key.txt` or `key.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vila2.data.errors import DataError
from vila2.data.readers.base import Reader
from vila2.data.readers.keys import key_of_path
from vila2.data.sample import RawSample
from vila2.data.shards import plain_members

_PICTURES = ("jpg", "jpeg", "png", "webp")
_CAPTION_KEYS = ("caption", "text", "alt_text")


class WebDatasetReader(Reader):
    """Reads a tar, or all tars of a folder in name order."""

    looks_like = "a .tar, or a folder of .tar files, holding key.jpg with key.txt or key.json"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._tars = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        if not self._tars:
            raise DataError("holds no .tar file", file=str(path), fix="Give a tar or their folder")

    def count(self) -> int | None:
        """Unknown until read."""
        return None

    def read(self) -> Iterator[RawSample]:
        """Samples of every tar in order; members of one sample stand next to each other."""
        for tar in self._tars:
            stem: str | None = None
            members: dict[str, bytes] = {}
            for name, data in plain_members(tar):
                # WebDataset splits at the first dot of the base name.
                base = PurePosixPath(name).name
                found, _, extension = base.partition(".")
                this = str(PurePosixPath(name).with_name(found))
                if this != stem:
                    if stem is not None:
                        yield self._sample(tar, stem, members)
                    stem, members = this, {}
                members[extension.lower()] = data
            if stem is not None:
                yield self._sample(tar, stem, members)

    def _sample(self, tar: Path, stem: str, members: dict[str, bytes]) -> RawSample:
        source = f"{tar.name}/{stem}"
        key = key_of_path(f"{tar.stem}_{stem}" if len(self._tars) > 1 else stem)
        image = next((members[e] for e in _PICTURES if e in members), None)
        if image is None:
            held = ", ".join(sorted(members))
            problem = f"image-missing: the sample holds only {held}; pack a .jpg, .png or .webp"
            return RawSample(key, source, None, problem=problem)
        if "txt" in members:
            return RawSample(key, source, image, members["txt"].decode("utf-8", "replace"))
        if "json" in members:
            try:
                about = json.loads(members["json"])
            except ValueError:
                about = None
            if not isinstance(about, dict):
                problem = "json-malformed: field json is not a JSON object; write {\"caption\": ...}"
                return RawSample(key, source, image, problem=problem)
            caption = next((about[k] for k in _CAPTION_KEYS if isinstance(about.get(k), str)), None)
            if caption is not None:
                return RawSample(key, source, image, caption)
        problem = "caption-missing: no .txt, and no caption or text in a .json; add one"
        return RawSample(key, source, image, problem=problem)
