"""Figures by round from the VILA² paper (arXiv 2407.17453v2), plotted with a run's own.

Other data, models and benchmarks: only the shape can be compared. The paper gives one figure for
each round and no interval.
"""

from __future__ import annotations

from statistics import mean

# Table 3: VQAv2, GQA, SQA, TextVQA, POPE, LLaVA-W, MM-Vet, MMMU of VILA_0 to VILA_4.
_SCORES = (
    (79.6, 62.4, 68.4, 61.6, 84.2, 68.4, 34.5, 33.8),
    (80.0, 63.2, 71.0, 62.5, 84.6, 72.2, 34.8, 35.8),
    (80.8, 63.5, 71.5, 63.5, 84.7, 71.2, 34.9, 35.2),
    (80.7, 63.5, 71.5, 63.7, 84.5, 72.3, 35.5, 35.5),
    (80.7, 63.4, 71.2, 63.6, 85.0, 72.3, 35.5, 35.0),
)
# Table 1: mean words of a COYO caption, and of the captions that rounds 1 to 4 were trained on.
WORDS = (11.9, 101.2, 117.1, 126.8, 125.9)
# The change of the mean of the eight benchmarks since round 0, in points.
CHANGES = tuple(mean(scores) - mean(_SCORES[0]) for scores in _SCORES)
SOURCE = (
    "VILA² paper, tables 1 and 3: the mean of eight benchmarks, no intervals given. Other data,"
    " models and benchmarks, so only the shape can be compared."
)
