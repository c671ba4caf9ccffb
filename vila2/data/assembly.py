"""Assembly: the pure function that turns original text and caption layers into training text.

The policies are those of the VILA² paper (section 2.1 and appendix A.5) and of its follow-ups:

- `original`: the alt-text alone.
- `recaption`: the newest caption alone; the alt-text is dropped.
- `concat`: the alt-text and the caption, which the paper found best for a VLM.
- `mix`: the caption with probability p, else the alt-text (Recap-DataComp). With p below 1,
  `concat` and `qa_turns` omit the caption in the other visits.
- `qa_turns`: `concat`, followed by the specialists' answers as question-and-answer turns, shuffled
  per sample, each question drawn from that specialist's paraphrases.
- `conversations`: the sample's own supervised turns (SFT and specialist data), shuffled per sample.

If the source has several captions of an image, the first is its alt-text, or with `originals: any`
each visit draws one. If there are several layers of general captions, each visit draws one of them
(accumulate instead of replace, as LaCLIP draws one of several texts).

A sample whose caption was quarantined is handled as `missing` declares: an error, or a fallback to
the original text, which is counted.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vila2.data.sample import Sample, Turn
from vila2.schemas.assembly import Assembly


@dataclass(frozen=True, slots=True)
class TrainingText:
    """A sample's text for one visit: plain text after the image, then turns; loss as declared.

    All of `plain` carries loss, and of each turn the answer only (paper, appendix A.4).
    """

    plain: str
    turns: tuple[Turn, ...]


class MissingCaptionError(ValueError):
    """A layer has no caption for a sample and the assembly declares no fallback."""


@dataclass
class AssemblyCounts:
    """Counts of one epoch's assembly, so that fallbacks are visible."""

    samples: int = 0
    missing: Counter[str] = field(default_factory=Counter)


def assemble(
    sample: Sample,
    captions: Mapping[str, str | None],
    assembly: Assembly,
    *,
    seed: int,
    visit: int,
    counts: AssemblyCounts | None = None,
) -> TrainingText:
    """Return the training text of `sample` on its `visit`-th pass (0, 1, ...).

    Pure: the same arguments give the same text. `captions` maps a layer's name to that sample's
    caption, or `None` if it was quarantined. Raises `MissingCaptionError` if a caption is
    missing and `assembly.missing` is "error".
    """
    rng = random.Random(_stable_seed(seed, sample.key, visit))
    if counts is not None:
        counts.samples += 1

    def caption_from(layer: str) -> str | None:
        caption = captions.get(layer)
        if caption is not None:
            return caption
        if assembly.missing == "error":
            raise MissingCaptionError(
                f"sample {sample.key}: layer {layer!r} has no caption for it; seal the layer, or "
                f"set `missing: original` in the assembly to train on the original text instead"
            )
        if counts is not None:
            counts.missing[layer] += 1
        return None

    if assembly.policy == "conversations":
        return TrainingText("", _at_most(_shuffled(sample.turns, rng), assembly))
    own = _own_caption(sample, assembly, seed=seed, visit=visit)
    if assembly.policy == "original":
        return TrainingText(own, ())

    caption = None
    if assembly.caption_layer:
        held = [captions.get(layer) for layer in (assembly.caption_layer, *assembly.also_layers)]
        found = [text for text in held if text is not None]
        if len(found) > 1:
            caption = rng.choice(found)
        else:
            caption = found[0] if found else caption_from(assembly.caption_layer)
    keep_original = assembly.policy in ("concat", "qa_turns") or caption is None
    # `mix` always draws, to keep its random stream; the others only if p makes a difference.
    draws = assembly.policy == "mix" or assembly.p < 1
    if draws and caption is not None and rng.random() >= assembly.p:
        caption, keep_original = None, True
    original = own if keep_original else ""

    answers = [
        Turn(rng.choice(assembly.questions[layer]), answer)
        for layer in sorted(assembly.questions)
        if (answer := caption_from(layer)) is not None
    ]
    if caption is not None and assembly.caption_question:
        answers.append(Turn(assembly.caption_question, caption))
        plain = original
    else:
        plain = _joined(original, caption, caption_first=assembly.caption_first)
    return TrainingText(plain, _at_most(_shuffled(answers, rng), assembly))


def _own_caption(sample: Sample, assembly: Assembly, *, seed: int, visit: int) -> str:
    """The sample's alt-text in a visit; its draw leaves the other draws as they are."""
    if assembly.originals == "first" or not sample.more_captions:
        return sample.caption
    rng = random.Random(_stable_seed(seed, sample.key, visit, "originals"))
    return rng.choice((sample.caption, *sample.more_captions))


def _joined(original: str, caption: str | None, *, caption_first: bool) -> str:
    """Join two texts as sentences, so that the end of one does not run into the other."""
    parts = [original, caption or ""]
    if caption_first:
        parts.reverse()
    kept = [part.strip() for part in parts if part.strip()]
    return " ".join(
        part if index == len(kept) - 1 or part.endswith((".", "!", "?")) else part + "."
        for index, part in enumerate(kept)
    )


def _shuffled(turns: Sequence[Turn], rng: random.Random) -> list[Turn]:
    shuffled = list(turns)
    rng.shuffle(shuffled)
    return shuffled


def _at_most(turns: list[Turn], assembly: Assembly) -> tuple[Turn, ...]:
    limit = assembly.turns_per_sample
    return tuple(turns[:limit] if limit else turns)


def _stable_seed(*parts: object) -> int:
    """A seed that does not depend on Python's hash randomisation."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
