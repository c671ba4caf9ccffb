"""The caption gate: the checks that a generated caption must pass.

The checks are cheap and look at text only. They do not see the image, so a fluent but false caption
passes. `bench/gate.py` measures the share of human captions that each check rejects, by language.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from services.caption.gate import form, wording
from services.caption.gate.candidate import Candidate, GateLimits
from services.caption.gate.language import language
from services.caption.gate.repetition import repetition
from services.caption.gate.salad import word_salad

__all__ = ["CHECKS", "Candidate", "GateLimits", "check"]

# The most informative reason comes first: a loop that reached the token limit is a loop.
CHECKS: Mapping[str, Callable[[Candidate], bool]] = MappingProxyType(
    {
        "empty": form.empty,
        "bad-characters": form.bad_characters,
        "repetition": repetition,
        "prompt-leak": wording.prompt_leak,
        "refusal": wording.refusal,
        "no-content": wording.no_content,
        "boilerplate": wording.boilerplate,
        "markup": form.markup,
        "language": language,
        "word-salad": word_salad,
        "length-truncated": form.length_truncated,
        "too-short": form.too_short,
        "too-long": form.too_long,
    }
)


def check(caption: str, *, prompt: str, finish_reason: str, limits: GateLimits) -> str | None:
    """The slug of the first check that fails, in the order of `CHECKS`, or `None`; never raises.

    `finish_reason` is the engine's: `stop` or `length`. Raises `ImportError` only if `limits` list
    languages and the detector is not installed; `requirements.check_languages` refuses such
    requests.
    """
    candidate = Candidate(caption, prompt, finish_reason, limits)
    for slug, fails in CHECKS.items():
        if fails(candidate):
            return slug
    return None
