"""Which given caption belongs to which sample. Pure.

A row names a sample by its key, by an id or the path or address of its source, or by a path of
which the other is the end: `a/x.jpg` for `/data/photos/a/x.jpg` and the reverse. Without an
extension it names the image of any. A closer way to name a sample has precedence; a row that names
several samples equally closely names none.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from vila2.data.errors import DataError
from vila2.data.given_captions.files import GivenCaption
from vila2.data.text import clean_text

EXAMPLES = 20
_IMAGE = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?|heic|heif|avif)$", re.IGNORECASE)
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_DEEPEST = 12  # folders of a path that are compared
# A path that ends more rows than this tells nothing.
_MOST_ROWS = 3
_BY_KEY, _BY_ID, _BY_SOURCE, _BY_END = range(4)


@dataclass(frozen=True, slots=True)
class Named:
    """The names of a sample."""

    key: str
    extension: str
    source: str
    source_ids: tuple[str, ...] = ()


@dataclass
class Rows:
    """The rows of a file by what they call their image, each name once."""

    by_name: dict[str, GivenCaption] = field(default_factory=dict)
    total: int = 0
    empty: int = 0
    repeated: int = 0

    @classmethod
    def of(cls, given: Iterable[GivenCaption]) -> Rows:
        """Count the rows; a name with two different captions is a `DataError` that names both."""
        made = cls()
        for row in given:
            made.total += 1
            caption = clean_text(row.caption, lines=True)
            if not caption:
                made.empty += 1
                continue
            kept = GivenCaption(row.row, row.key, caption)
            first = made.by_name.setdefault(as_name(row.key), kept)
            if first is not kept:
                _refuse_different(first, kept, f"both are about {row.key[:200]!r}")
                made.repeated += 1
        return made


@dataclass
class Matching:
    """The captions by sample's key, and the rows without one; each row is in one of the counts.

    `matched` samples have a caption; `repeated` rows give the same caption again; `unmatched` rows
    name no sample, `ambiguous` ones several, with the first `EXAMPLES` of each.
    """

    captions: dict[str, GivenCaption]
    rows: int
    empty: int
    repeated: int
    unmatched: int = 0
    ambiguous: int = 0
    unmatched_examples: list[GivenCaption] = field(default_factory=list)
    ambiguous_examples: list[GivenCaption] = field(default_factory=list)

    @property
    def matched(self) -> int:
        """Number of samples with a caption."""
        return len(self.captions)


@dataclass
class _Best:
    """The samples that a row names most closely: one, or `several`."""

    rank: tuple[int, int] = (99, 0)
    sample: str = ""
    several: bool = False

    def offer(self, rank: tuple[int, int], sample: str) -> None:
        if rank < self.rank:
            self.rank, self.sample, self.several = rank, sample, False
        elif rank == self.rank and sample != self.sample:
            self.several = True


def match(rows: Rows, samples: Callable[[], Iterable[Named]]) -> Matching:
    """Match rows and samples; `samples` is called once or twice and need not hold all in memory.

    Two rows with different captions that name one sample equally closely are a `DataError`, which
    names both.
    """
    best: dict[str, _Best] = defaultdict(_Best)
    for sample in samples():
        for rank, name in _names(sample):
            if name in rows.by_name:
                best[name].offer(rank, sample.key)
    ends = _ends(name for name in rows.by_name if name not in best)
    if ends:
        taken = {found.sample for found in best.values()}
        for sample in samples():
            if sample.key in taken:
                continue
            for name in _whole_names(sample):
                for other in ends.get(name, ())[:_MOST_ROWS]:
                    best[other].offer((_BY_END, -name.count("/")), sample.key)
    return _settled(rows, best)


def as_name(text: str) -> str:
    """A path, address or id in the form in which it is compared."""
    name = clean_text(text).replace("\\", "/")
    return name if _SCHEME.match(name) or not name else posixpath.normpath(name)


def no_match(rows: Rows, samples: Iterable[Named]) -> str:
    """What to say if nothing matches: names of the file beside names of the dataset."""
    theirs = [repr(row.key[:100]) for row in islice(rows.by_name.values(), 3)]
    ours = [f"{each.key!r} from {each.source[:100]!r}" for each in islice(samples, 3)]
    return (
        f"no row names a sample: the file has {', '.join(theirs)}, "
        f"the dataset has {', '.join(ours)}"
    )


def _settled(rows: Rows, best: dict[str, _Best]) -> Matching:
    made = Matching({}, rows.total, rows.empty, rows.repeated)
    missed: list[GivenCaption] = []
    ambiguous: list[GivenCaption] = []
    one: list[tuple[_Best, GivenCaption]] = []
    for name, row in rows.by_name.items():
        if name not in best:
            missed.append(row)
        elif best[name].several:
            ambiguous.append(row)
        else:
            one.append((best[name], row))
    closest: dict[str, tuple[int, int]] = {}
    for found, row in sorted(one, key=lambda each: each[0].rank):
        first = made.captions.setdefault(found.sample, row)
        if first is row:
            closest[found.sample] = found.rank
        elif first.caption == row.caption:
            made.repeated += 1
        elif closest[found.sample] == found.rank:
            _refuse_different(first, row, f"both name sample {found.sample}")
        else:
            missed.append(row)  # it names the sample less closely than another row does
    made.unmatched, made.unmatched_examples = len(missed), missed[:EXAMPLES]
    made.ambiguous, made.ambiguous_examples = len(ambiguous), ambiguous[:EXAMPLES]
    return made


def _names(sample: Named) -> Iterator[tuple[tuple[int, int], str]]:
    """What a row may call the sample, with how closely: less is closer."""
    yield (_BY_KEY, 0), as_name(sample.key)
    for given in sample.source_ids:
        yield (_BY_ID, 0), as_name(given)
    yield (_BY_SOURCE, 0), as_name(sample.source)
    for name in _whole_names(sample):
        for end in _ends_of(name):
            yield (_BY_END, -end.count("/")), end


def _whole_names(sample: Named) -> Iterator[str]:
    """Paths of the sample, with their extension and without."""
    for given in (sample.source, *sample.source_ids, f"{sample.key}.{sample.extension}"):
        name = as_name(_path_of(given))
        stem = _IMAGE.sub("", name)
        yield name
        yield stem if stem != name else f"{name}.{sample.extension}"


def _path_of(name: str) -> str:
    """The path of an address; any other name as it is."""
    scheme = _SCHEME.match(name)
    return re.split(r"[?#]", name[scheme.end() :])[0] if scheme else name


def _ends_of(name: str) -> Iterator[str]:
    parts = [part for part in name.split("/") if part][-_DEEPEST:]
    for first in range(len(parts)):
        yield "/".join(parts[first:])


def _ends(names: Iterable[str]) -> dict[str, list[str]]:
    """Rows by each path that is an end of theirs."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for end in _ends_of(as_name(_path_of(name))):
            found[end].append(name)
    return found


def _refuse_different(first: GivenCaption, second: GivenCaption, why: str) -> None:
    if first.caption != second.caption:
        raise DataError(
            f"{first.row} and {second.row} have different captions, and {why} "
            f"({first.caption[:60]!r}, {second.caption[:60]!r})",
            field="key",
            fix="Keep one of them",
        )
