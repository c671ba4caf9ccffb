"""WebDataset tars from other tools: `key.jpg` with `key.txt` or `key.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vila2.data.errors import DataError, ShardError
from vila2.data.images.formats import FILES, SUFFIXES
from vila2.data.readers.base import Reader, ReadOptions, is_pattern
from vila2.data.readers.files.tree import linked_folders
from vila2.data.readers.json_rows import parse_json
from vila2.data.readers.keys import Keys, ids_beside
from vila2.data.readers.names import is_hidden, is_metadata
from vila2.data.sample import RawSample, Turn
from vila2.data.tar.reading import BehindEnd, Member, members_of
from vila2.data.text import decode
from vila2.system.numbers import counted

_IMAGES = tuple(suffix[1:] for suffix in SUFFIXES)
_MAX_GROUP = 64
# More than the limit of uploads.
_MAX_MEMBERS = 5_000_000
_TAR = re.compile(r"\.(tar|tgz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
_ARCHIVE = re.compile(_TAR.pattern + r"|\.(zip|7z|rar|tar\.(zst|lz4)|tzst)$", re.IGNORECASE)
_CAPTION_KEYS = ("caption", "text", "alt_text")


@dataclass(frozen=True, slots=True)
class Group:
    """The members of one sample: pairs of lower-case extension and bytes, in the tar's order.

    `offsets` has the position of each in the tar; `about` replaces `key.json` if the sample does
    not come from files. `unfit` is the problem of a sample that is not whole.
    """

    tar: str
    stem: str
    members: tuple[tuple[str, bytes], ...]
    about: Mapping[str, Any] | None = None
    offsets: tuple[int, ...] = ()
    unfit: str = ""


class WebDatasetReader(Reader):
    """Reads a tar, all tars of a folder, or those that a pattern names, in name order.

    The caption is `key.txt`, else the `caption`, `text` or `alt_text` of `key.json`, which may also
    hold `turns` ([[question, answer], ...]), `items`, `source_ids` and `more_captions` as this
    package's own shards do. A web address in its `url` or `source` is the sample's source. Other
    members of a sample are ignored. Tars may be compressed.
    """

    fields = ("encoding",)
    looks_like = "a .tar, or a folder of .tar files, holding key.jpg with key.txt or key.json"

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path, options)
        self._unread: list[str] = []
        if path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.is_file())
            names = {f: f.relative_to(path).as_posix() for f in files}
            archives = [f for f in files if not is_hidden(names[f]) and _ARCHIVE.search(f.name)]
            self._tars = [f for f in archives if f.parent == path and _TAR.search(f.name)]
            self._unread = [names[f] for f in archives if f not in self._tars]
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
        """Samples of every tar in order; a tar's unreadable rest as one problem."""
        keys = Keys()
        if self.path.is_dir():
            yield from linked_folders(self.path, keys)
        for tar in self._tars:
            samples = 0
            try:
                for group in groups_of(tar):
                    yield sample_of(group, keys, self.options)
                    samples += 1
            except (ShardError, OSError) as error:
                told = counted(samples, "sample")
                problem = f"tar-damaged: after {told}: {error}; the rest is not read"
                yield RawSample(keys.of(tar.stem, source=tar.name), tar.name, None, problem=problem)
        for name in self._unread:
            problem = (
                "archive-unread: only tars in the folder itself are read; submit those below by "
                "their own folder, and pack any other archive as a tar"
            )
            yield RawSample(keys.of_file(name), name, None, problem=problem)


def groups_of(tar: Path, *, compressed: bool = True) -> Iterator[Group]:
    """Neighbouring members of one stem; WebDataset splits at the first dot of the base name.

    Hidden members, such as macOS's `._NAME`, and metadata (`__NAME__`) are left out as in a folder.
    Raises `ShardError` where the tar is damaged, after the last group, which is then unfit: it
    may lack members.
    """
    stem: str | None = None
    held: list[tuple[str, Member]] = []

    def group(cut: str = "") -> Group:
        return Group(
            tar.name,
            stem or "",
            tuple((extension, member.data) for extension, member in held),
            offsets=tuple(member.offset for _, member in held),
            unfit=cut or next((f"member-not-plain: {m.unfit}" for _, m in held if m.unfit), ""),
        )

    try:
        for member in members_of(tar, compressed=compressed, limit=_MAX_MEMBERS, keep_unfit=True):
            if is_hidden(member.name) or is_metadata(member.name):
                continue
            path = PurePosixPath(member.name)
            base, _, extension = path.name.partition(".")
            this = str(path.parent / base)
            if this != stem:
                if stem is not None:
                    yield group()
                stem, held = this, []
            held.append((extension.lower(), member))
            if len(held) > _MAX_GROUP:
                raise ShardError(
                    f"more than {_MAX_GROUP} members are called {this!r}", field=this[:200],
                    fix="Give each sample a key of its own",
                )  # fmt: skip
    except BehindEnd:
        if stem is not None:
            yield group()
        raise
    except ShardError:
        if stem is not None:
            yield group("sample-cut: the tar is damaged behind it, so members may be missing")
        raise
    if stem is not None:
        yield group()


def sample_of(group: Group, keys: Keys, options: ReadOptions) -> RawSample:
    """A sample of its members; what it lacks is its `problem`."""
    captionless = options.captionless
    members = dict(group.members)
    extension = next((e for e in _IMAGES if e in members), None)
    source = f"{group.tar}/{group.stem}" + (f".{extension}" if extension else "")
    key = keys.of(group.stem, source=source)
    ids = ids_beside(key, group.stem)

    def broken(problem: str) -> RawSample:
        return RawSample(key, source, None, problem=problem)

    if group.unfit:
        return broken(group.unfit)
    if extension is None:
        held = ", ".join(sorted(members))
        return broken(f"image-missing: there is only {held}; pack a {FILES}")
    if len(members) < len(group.members):
        return broken("member-duplicate: two members have one name; give each sample its own key")
    image = members[extension]
    caption = decode(members["txt"], options.encoding) if "txt" in members else None
    if "json" not in members and group.about is None:
        if caption is None and not captionless:
            return broken("caption-missing: there is no .txt and no .json; pack one")
        return RawSample(key, source, image, caption, source_ids=ids)
    try:
        text = "" if group.about is not None else decode(members["json"], options.encoding)
        about = parse_json(text) if group.about is None else group.about
        turns, items = _turns(about), _items(about)
        source, ids = address_of(about) or source, _ids(key, about) or ids
        more = _more_captions(about)
    except (ValueError, TypeError, AttributeError) as error:
        if caption is not None:
            # A foreign .json beside a .txt is metadata and is ignored.
            return RawSample(key, source, image, caption, source_ids=ids)
        return broken(f'json-malformed: {error}; write {{"caption": "..."}}')
    if caption is None:
        caption = next((about[k] for k in _CAPTION_KEYS if isinstance(about.get(k), str)), None)
    if caption is None and not turns and not items and not captionless:
        return broken(f"caption-missing: the .json has none of the fields {_CAPTION_KEYS}; add one")
    return RawSample(
        key, source, image, caption, turns=turns, items=items, source_ids=ids, more_captions=more
    )


def address_of(about: Any) -> str:
    """The web address in a sample's json: img2dataset's `url`, or this package's `source`."""
    given = [about.get(name) for name in ("url", "source")] if isinstance(about, dict) else []
    web = (each for each in given if isinstance(each, str))
    return next((each for each in web if each.lower().startswith(("http://", "https://"))), "")


def _ids(key: str, about: Any) -> tuple[str, ...]:
    given = about.get("source_ids", ())
    return ids_beside(key, *given) if isinstance(given, list) else ()


def _more_captions(about: Any) -> tuple[str, ...]:
    given = about.get("more_captions", ())
    return tuple(text for text in given if isinstance(text, str)) if isinstance(given, list) else ()


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
