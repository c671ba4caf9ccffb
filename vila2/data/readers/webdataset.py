"""WebDataset tars as others write them: `key.jpg` with `key.txt` or `key.json`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from vila2.data.errors import DataError, ShardError
from vila2.data.readers.base import Reader, is_pattern
from vila2.data.readers.json_rows import parse_json
from vila2.data.readers.keys import Keys
from vila2.data.sample import RawSample, Turn
from vila2.data.tars import plain_members

_PICTURES = ("jpg", "jpeg", "png", "webp")
_CAPTION_KEYS = ("caption", "text", "alt_text")


class WebDatasetReader(Reader):
    """Reads a tar, all tars of a folder, or those that a pattern names, in name order.

    The caption is `key.txt`, else the `caption`, `text` or `alt_text` of `key.json`, which may
    also hold `turns` ([[question, answer], ...]) and `items` as this package's own shards do.
    Other members of a sample are left out. Tars may be compressed.
    """

    looks_like = "a .tar, or a folder of .tar files, holding key.jpg with key.txt or key.json"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if path.is_dir():
            self._tars = sorted(path.glob("*.tar"))
        elif is_pattern(path) and not path.exists():
            self._tars = sorted(path.parent.glob(path.name))
        else:
            self._tars = [path]
        if not self._tars:
            raise DataError("holds no .tar file", file=str(path), fix="Give a tar or their folder")

    def count(self) -> int | None:
        """Unknown until read."""
        return None

    def read(self) -> Iterator[RawSample]:
        """Samples of every tar in order; what cannot be read of a tar as one problem."""
        keys = Keys()
        for tar in self._tars:
            samples = 0
            try:
                for stem, members in _groups(tar):
                    yield _sample(tar, stem, members, keys)
                    samples += 1
            except (ShardError, OSError) as error:
                problem = f"tar-damaged: after {samples} samples: {error}; the rest is not read"
                yield RawSample(keys.of(tar.stem, source=tar.name), tar.name, None, problem=problem)


def _groups(tar: Path) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Neighbouring members of one stem, as pairs of lower-case extension and bytes."""
    stem: str | None = None
    members: list[tuple[str, bytes]] = []
    for name, data in plain_members(tar, compressed=True):
        # WebDataset splits at the first dot of the base name.
        path = PurePosixPath(name)
        base, _, extension = path.name.partition(".")
        this = str(path.parent / base)
        if this != stem:
            if stem is not None:
                yield stem, members
            stem, members = this, []
        members.append((extension.lower(), data))
    if stem is not None:
        yield stem, members


def _sample(tar: Path, stem: str, pairs: list[tuple[str, bytes]], keys: Keys) -> RawSample:
    members = dict(pairs)
    extension = next((e for e in _PICTURES if e in members), None)
    source = f"{tar.name}/{stem}" + (f".{extension}" if extension else "")
    key = keys.of(stem, source=source)

    def broken(problem: str) -> RawSample:
        return RawSample(key, source, None, problem=problem)

    if extension is None:
        held = ", ".join(sorted(members))
        return broken(f"image-missing: there is only {held}; pack a .jpg, .png or .webp")
    if len(members) < len(pairs):
        return broken("member-duplicate: two members have one name; give each sample its own key")
    caption = members["txt"].decode("utf-8", "surrogateescape") if "txt" in members else None
    if "json" not in members:
        if caption is None:
            return broken("caption-missing: there is no .txt and no .json; pack one")
        return RawSample(key, source, members[extension], caption)
    try:
        about = parse_json(members["json"])
        turns, items = _turns(about), _items(about)
    except (ValueError, TypeError, AttributeError) as error:
        if caption is not None:
            # A foreign .json beside a .txt is metadata, and none of our business.
            return RawSample(key, source, members[extension], caption)
        return broken(f'json-malformed: {error}; write {{"caption": "..."}}')
    if caption is None:
        caption = next((about[k] for k in _CAPTION_KEYS if isinstance(about.get(k), str)), None)
    if caption is None and not turns and not items:
        return broken(f"caption-missing: the .json has none of the fields {_CAPTION_KEYS}; add one")
    return RawSample(key, source, members[extension], caption, turns=turns, items=items)


def _turns(about: Any) -> tuple[Turn, ...]:
    turns = tuple(Turn(question, answer) for question, answer in about.get("turns", ()))
    if not all(isinstance(text, str) for turn in turns for text in (turn.question, turn.answer)):
        raise TypeError("field turns must hold pairs of texts")
    return turns


def _items(about: Any) -> tuple[dict[str, Any], ...]:
    items = tuple(about.get("items", ()))
    if not all(isinstance(item, dict) for item in items):
        raise TypeError("field items must hold objects")
    return items
