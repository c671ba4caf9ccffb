"""Admission: each raw sample is either accepted into the version or rejected with a reason."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from vila2.data.benchmark_items import item_problem
from vila2.data.dedup_index import Seen
from vila2.data.images.decoding import ImageLimits, ImageRejected, inspect
from vila2.data.images.formats import FIRST_OF_SEVERAL, SUFFIXES
from vila2.data.images.opening import has_several
from vila2.data.readers.keys import clean_key
from vila2.data.sample import RawSample, Rejected, Sample, Turn
from vila2.data.text import clean_name, clean_text, needs_repair, undecoded
from vila2.schemas.canonical import canonical_json

MAX_CAPTION_CHARACTERS = 8_000
MAX_TURN_CHARACTERS = 32_000
# Longer than signed addresses are; a path longer than this is cut.
MAX_SOURCE_CHARACTERS = 4_096
MAX_SOURCE_IDS = 100
EXAMPLES_PER_REASON = 20

_SLUG = re.compile(r"[a-z][a-z0-9-]{1,39}")


class _NotAdmitted(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail


def admit(
    raw: RawSample,
    *,
    limits: ImageLimits | None = None,
    captionless: bool = False,
    decoded: bool = True,
) -> Sample | Rejected:
    """Validate one raw sample without reference to others. Pure.

    Reasons: those of `images.inspect`, text-not-decoded, caption-empty, caption-too-long,
    turn-empty, turn-too-long, item-malformed, and any problem that its reader reported
    (sample-unreadable if without a slug).
    With `captionless`, an image without text is admitted, to be captioned by a model. Without
    `decoded`, only the structure of an image is checked, not its pixels.
    """
    try:
        if raw.problem is not None:
            reason, _, detail = raw.problem.partition(": ")
            if not _SLUG.fullmatch(reason):
                reason, detail = "sample-unreadable", raw.problem
            raise _NotAdmitted(reason, detail or reason)
        _decoded(raw)
        info = inspect(raw.image, limits=limits or ImageLimits(), decoded=decoded)
        image = raw.image or b""
        captions = _captions(raw, captionless=captionless)
        return Sample(
            key=clean_key(raw.key),
            image=image,
            extension=info.extension,
            sha256=hashlib.sha256(image).hexdigest(),
            width=info.width,
            height=info.height,
            caption=captions[0],
            turns=tuple(_turn(turn) for turn in raw.turns),
            items=tuple(_item(item) for item in raw.items),
            source=clean_name(raw.source)[:MAX_SOURCE_CHARACTERS],
            source_ids=_ids(raw.source_ids),
            more_captions=captions[1:],
        )
    except (ImageRejected, _NotAdmitted) as error:
        return _rejected(raw.key, raw.source, error.reason, error.detail)


def _rejected(key: str, source: str, reason: str, detail: str) -> Rejected:
    shown = clean_text(source)[:500]
    return Rejected(clean_text(key)[:200], shown, reason, f"{shown}: {clean_text(detail)[:1000]}")


def _decoded(raw: RawSample) -> None:
    byte = next(filter(None, map(undecoded, raw.texts())), "")
    if byte:
        raise _NotAdmitted(
            "text-not-decoded",
            f"a text holds the byte {byte}, which its encoding (UTF-8, if none was named) does "
            "not have; save it as UTF-8, or name its encoding with --encoding, such as cp1252",
        )


def _captions(raw: RawSample, *, captionless: bool) -> tuple[str, ...]:
    """The caption, which may be empty, and further ones that differ."""
    given = (clean_text(text or "") for text in (raw.caption, *raw.more_captions))
    captions = tuple(dict.fromkeys(text for text in given if text))
    if not captions and not raw.turns and not raw.items and not captionless:
        raise _NotAdmitted(
            "caption-empty",
            "field caption is empty; give some text, drop the row, or say --captionless",
        )
    longest = max(map(len, captions), default=0)
    if longest > MAX_CAPTION_CHARACTERS:
        raise _NotAdmitted(
            "caption-too-long",
            f"field caption has {longest:,} characters, the limit is "
            f"{MAX_CAPTION_CHARACTERS:,}; shorten it",
        )
    return captions or ("",)


def _ids(given: Iterable[str]) -> tuple[str, ...]:
    cleaned = dict.fromkeys(clean_name(each)[:MAX_SOURCE_CHARACTERS] for each in given)
    return tuple(each for each in cleaned if each)[:MAX_SOURCE_IDS]


def _turn(turn: Turn) -> Turn:
    cleaned = Turn(clean_text(turn.question, lines=True), clean_text(turn.answer, lines=True))
    if not cleaned.question or not cleaned.answer:
        raise _NotAdmitted(
            "turn-empty",
            "field conversations has an empty question or answer; fill it or drop the pair",
        )
    if max(len(cleaned.question), len(cleaned.answer)) > MAX_TURN_CHARACTERS:
        raise _NotAdmitted(
            "turn-too-long",
            f"field conversations has a text of more than {MAX_TURN_CHARACTERS:,} characters; "
            "shorten it",
        )
    return cleaned


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Validate a benchmark question for evaluation; unknown fields are kept."""
    cleaned: dict[str, Any] = {}
    for given, value in item.items():
        name = clean_text(given)
        if name in ("answers", "options") and isinstance(value, list):
            texts = [clean_text(text) if isinstance(text, str) else text for text in value]
            cleaned[name] = [text for text in texts if text != ""]
        elif isinstance(value, str):
            cleaned[name] = clean_text(value, lines=name == "question")
        elif value is None or (isinstance(value, int | float) and abs(value) < 1e300):
            cleaned[name] = value
        else:
            raise _NotAdmitted(
                "item-malformed", f"field {name} must be a text or a number; write it as text"
            )
    if problem := item_problem(cleaned):
        raise _NotAdmitted("item-malformed", f"a question: {problem}")
    return cleaned


@dataclass(frozen=True, slots=True)
class Summary:
    """Outcome counts of a version's raw samples: each is accepted or rejected with a reason.

    `notes` counts accepted samples with a remark: extension-differs (the file extension does not
    match the format), further-captions (the sample has several), first-of-several (the first page
    or frame is used, and others follow) and text-repaired (control characters or halves of pairs
    were removed).
    """

    accepted: int
    rejected: Mapping[str, int]
    notes: Mapping[str, int]
    repeated_captions: int
    examples: Mapping[str, tuple[Rejected, ...]]


@dataclass
class Admission:
    """Admits samples in order and rejects what a version may contain only once.

    `accepted` and `rejected` count them; `examples` keeps some rejections of each reason;
    `repeated_captions` counts the accepted samples that share a caption. In addition to the
    reasons of `admit`: duplicate-caption (the same image with the same texts), duplicate-image
    (the same image with other texts), duplicate-key, duplicate-item. The first is always
    kept. taken-down: the image's sha256 is in `taken_down`. `counted` is called with the number of
    samples so far after each, whether it was admitted or not. The index of seen samples is on disk.
    """

    limits: ImageLimits = field(default_factory=ImageLimits)
    captionless: bool = False
    decoded: bool = True
    taken_down: Callable[[str], bool] = lambda _: False
    counted: Callable[[int], None] = lambda _: None
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Rejected]] = field(default_factory=dict)
    repeated_captions: int = 0
    _seen: Seen = field(default_factory=Seen)

    def through(self, raws: Iterable[RawSample], *, workers: int = 1) -> Iterator[Sample]:
        """Yield the samples that pass, in order; count the others.

        Images are checked by `workers` threads: decoding and hashing release the GIL.
        """
        for raw, outcome in self._checked(raws, workers):
            counted = self._count(raw, outcome)
            if isinstance(counted, Sample):
                yield counted

    def admit(self, raw: RawSample) -> Sample | Rejected:
        """Validate one raw sample, check it for duplicates of earlier ones, and count it."""
        return self._count(raw, self._alone(raw))

    def _checked(
        self, raws: Iterable[RawSample], workers: int
    ) -> Iterator[tuple[RawSample, Sample | Rejected]]:
        if workers <= 1:
            yield from ((raw, self._alone(raw)) for raw in raws)
            return
        with ThreadPoolExecutor(workers, thread_name_prefix="admit") as pool:
            waiting: deque[tuple[RawSample, Future[Sample | Rejected]]] = deque()
            for raw in raws:
                waiting.append((raw, pool.submit(self._alone, raw)))
                if len(waiting) >= 4 * workers:
                    first, outcome = waiting.popleft()
                    yield first, outcome.result()
            while waiting:
                first, outcome = waiting.popleft()
                yield first, outcome.result()

    def _alone(self, raw: RawSample) -> Sample | Rejected:
        return admit(raw, limits=self.limits, captionless=self.captionless, decoded=self.decoded)

    def _count(self, raw: RawSample, outcome: Sample | Rejected) -> Sample | Rejected:
        if isinstance(outcome, Sample):
            outcome = self._once(outcome)
        if isinstance(outcome, Sample):
            self.accepted += 1
            self._note(raw, outcome)
        else:
            self.rejected[outcome.reason] += 1
            kept = self.examples.setdefault(outcome.reason, [])
            if len(kept) < EXAMPLES_PER_REASON:
                kept.append(outcome)
        self.counted(self.accepted + self.rejected.total())
        return outcome

    def close(self) -> None:
        """Delete the index of seen samples."""
        self._seen.close()

    def summary(self) -> Summary:
        """The counts so far."""
        return Summary(
            accepted=self.accepted,
            rejected=dict(self.rejected),
            notes=dict(self.notes),
            repeated_captions=self.repeated_captions,
            examples={reason: tuple(kept) for reason, kept in self.examples.items()},
        )

    def _once(self, sample: Sample) -> Sample | Rejected:
        """Reject an image, key or question that the version already contains."""

        def refused(reason: str, detail: str) -> Rejected:
            return _rejected(sample.key, sample.source, reason, detail)

        if self.taken_down(sample.sha256):
            return refused("taken-down", "this image was taken down and is not taken in again")
        turns = [(turn.question, turn.answer) for turn in sample.turns]
        texts = _digest(canonical_json([_texts_of(sample), turns, sample.items]))
        digest = bytes.fromhex(sample.sha256)
        held = self._seen.image(digest)
        if held is not None:
            first, first_texts = held
            if texts == first_texts:
                return refused("duplicate-caption", f"the same image and texts as {first}")
            return refused(
                "duplicate-image",
                f"the same image as {first}, byte for byte, with other texts; only the first is "
                "kept, so put all texts of an image into one sample",
            )
        if self._seen.has_name("key", sample.key):
            return refused(
                "duplicate-key", f"key {sample.key} occurs twice; give each sample its own"
            )
        items = [str(item["id"]) for item in sample.items]
        known = self._seen.has_name
        repeated = next((i for n, i in enumerate(items) if i in items[:n] or known("item", i)), "")
        if repeated:
            return refused(
                "duplicate-item", f"field id: {repeated} occurs twice; give each question its own"
            )
        self._seen.add_name("key", sample.key)
        for item in items:
            self._seen.add_name("item", item)
        self._seen.add_image(digest, texts, sample.source)
        return sample

    def _note(self, raw: RawSample, sample: Sample) -> None:
        named = SUFFIXES.get("." + sample.source.rpartition(".")[2].lower())
        if named is not None and named != sample.extension:
            self.notes["extension-differs"] += 1
        if sample.extension in FIRST_OF_SEVERAL and has_several(sample.image):
            self.notes["first-of-several"] += 1
        if sample.more_captions:
            self.notes["further-captions"] += 1
        if any(needs_repair(text) for text in raw.texts()):
            self.notes["text-repaired"] += 1
        if sample.caption:
            self.repeated_captions += self._seen.add_caption(_digest(sample.caption.encode()))


def _texts_of(sample: Sample) -> str | list[str]:
    return [sample.caption, *sample.more_captions] if sample.more_captions else sample.caption


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=12).digest()
