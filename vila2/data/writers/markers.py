"""Markers of trainers inside untrusted text: a caption may tell of `<image>`.

LLaVA, LLaMA-Factory and VILA put an image wherever a text says so. A second marker makes a row with
two places and one image, which fails, or gives the caption to another place.
"""

from __future__ import annotations

import re
from dataclasses import replace

from vila2.data.sample import Turn
from vila2.data.writers.captioned import Captioned

# Formats whose readers look for markers.
MARKED = ("llava", "vila")
_MARKER = re.compile(r"<(?=/?(?:image|video|audio|im_start|im_end|im_patch|vid_start|vid_end)>)")


def without_markers(text: str) -> str:
    """`text` in which no marker is one: `<image>` becomes `< image>`. Pure."""
    return _MARKER.sub("< ", text)


def neutralised(captioned: Captioned) -> Captioned:
    """The same sample without markers in what is trained on; itself if there is none."""
    turns = tuple(
        Turn(without_markers(turn.question), without_markers(turn.answer))
        for turn in captioned.sample.turns
    )
    text = without_markers(captioned.text)
    if text == captioned.text and turns == captioned.sample.turns:
        return captioned
    return replace(captioned, text=text, sample=replace(captioned.sample, turns=turns))
