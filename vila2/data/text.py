"""Cleaning of untrusted text: valid Unicode, no control characters."""

from __future__ import annotations

import re
import unicodedata

# Line ends and tabs are white space; the other controls, and halves of surrogate pairs, are not
# text. A half pair stands for a byte that could not be decoded.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_UNPRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNDECODED = re.compile("[\ud800-\udfff]")


def clean_text(text: str, *, lines: bool = False) -> str:
    """Normalise to NFC, drop control characters, mark undecodable bytes as U+FFFD, trim.

    White space is folded to single blanks; with `lines`, line ends are kept, and more than one
    empty line becomes one.
    """
    text = unicodedata.normalize("NFC", _UNDECODED.sub("\ufffd", _CONTROL.sub("", text)))
    if not lines:
        return " ".join(text.split())
    folded = "\n".join(" ".join(line.split()) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", folded).strip()


def clean_name(text: str) -> str:
    """A path, address or id as it was, without control characters and undecodable bytes.

    Blanks and Unicode forms are kept, since they tell names apart.
    """
    return _UNDECODED.sub("\ufffd", _UNPRINTED.sub("", text))


def needs_repair(text: str) -> bool:
    """Whether `clean_text` removes or replaces more than white space."""
    return bool(_CONTROL.search(text) or _UNDECODED.search(text))
