"""Admission: every raw sample becomes a sample of the version, or is rejected with a reason."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from vila2.data.images import ImageLimits, ImageRejected, inspect
from vila2.data.readers.keys import clean_key
from vila2.data.sample import RawSample, Rejected, Sample, Turn

MAX_CAPTION_CHARACTERS = 8000
EXAMPLES_PER_REASON = 20


def admit(raw: RawSample, *, limits: ImageLimits | None = None) -> Sample | Rejected:
    """Check one raw sample by itself; pure."""

    def rejected(reason: str, detail: str) -> Rejected:
        return Rejected(raw.key, raw.source, reason, f"{raw.source}: {detail}")

    if raw.problem is not None:
        reason, _, detail = raw.problem.partition(": ")
        return rejected(reason, detail or reason)
    if raw.image is None:
        return rejected("image-missing", "no picture; put the file beside its caption")
    try:
        info = inspect(raw.image, limits=limits or ImageLimits())
    except ImageRejected as error:
        return rejected(error.reason, error.detail)
    caption = clean_text(raw.caption or "")
    if not caption and not raw.turns and not raw.items:
        return rejected("caption-empty", "field caption is empty; give some text or drop the row")
    if len(caption) > MAX_CAPTION_CHARACTERS:
        return rejected(
            "caption-too-long",
            f"field caption has {len(caption):,} characters, the limit is "
            f"{MAX_CAPTION_CHARACTERS:,}; shorten it",
        )
    turns = tuple(Turn(clean_text(t.question), clean_text(t.answer)) for t in raw.turns)
    if any(not turn.question or not turn.answer for turn in turns):
        return rejected("turn-empty", "field conversations has an empty question or answer")
    return Sample(
        key=clean_key(raw.key),
        image=raw.image,
        extension=info.extension,
        sha256=hashlib.sha256(raw.image).hexdigest(),
        width=info.width,
        height=info.height,
        caption=caption,
        turns=turns,
        items=raw.items,
        source=raw.source,
    )


def clean_text(text: str) -> str:
    """Normalise to NFC, drop control characters, and fold white space."""
    normal = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    visible = "".join(
        " " if char in "\n\r\t" else char
        for char in normal
        if char in "\n\r\t" or unicodedata.category(char) not in ("Cc", "Cs")
    )
    return " ".join(visible.split())


@dataclass
class Admission:
    """Admits samples one after another and remembers what a version may hold only once.

    `accepted` and `rejected` count them; `examples` keeps some rejections of each reason.
    """

    limits: ImageLimits = field(default_factory=ImageLimits)
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Rejected]] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set)
    _pictures: dict[str, str] = field(default_factory=dict)

    def through(self, raws: Iterable[RawSample]) -> Iterator[Sample]:
        """Yield the samples that pass; count the others."""
        for raw in raws:
            outcome = admit(raw, limits=self.limits)
            if isinstance(outcome, Sample):
                outcome = self._once(outcome)
            if isinstance(outcome, Sample):
                self.accepted += 1
                yield outcome
            else:
                self.rejected[outcome.reason] += 1
                kept = self.examples.setdefault(outcome.reason, [])
                if len(kept) < EXAMPLES_PER_REASON:
                    kept.append(outcome)

    def _once(self, sample: Sample) -> Sample | Rejected:
        """Refuse a key or a picture that the version already holds."""
        if sample.key in self._keys:
            return Rejected(
                sample.key,
                sample.source,
                "duplicate-key",
                f"{sample.source}: key {sample.key} occurs twice; give each sample its own",
            )
        first = self._pictures.get(sample.sha256)
        if first is not None:
            return Rejected(
                sample.key,
                sample.source,
                "duplicate-image",
                f"{sample.source}: the same picture as {first}, byte for byte; the first is kept",
            )
        self._keys.add(sample.key)
        self._pictures[sample.sha256] = sample.source
        return sample
