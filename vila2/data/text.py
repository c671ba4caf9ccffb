"""Decoding and cleaning of untrusted text: valid Unicode, no control characters.

Bytes that their encoding does not explain become single surrogates, which admission refuses: no
character of a caption is guessed.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from pathlib import Path
from typing import TextIO

from vila2.data.errors import DataError

# Line ends and tabs are white space; the other controls, and halves of surrogate pairs, are not
# text. A half pair stands for a byte that could not be decoded.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_UNPRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNDECODED = re.compile("[\ud800-\udfff]")
# How a byte is kept that could not be decoded; other halves of pairs stand in the source itself.
_BYTE = re.compile("[\udc80-\udcff]")
# Marks at the beginning of a file. That of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(data: bytes, encoding: str = "") -> str:
    """Text by the mark at its beginning, else in `encoding`, else as UTF-8.

    Undecodable bytes are kept as surrogates. Raises `DataError` for an unknown encoding.
    """
    return data.decode(_codec(data[:4], encoding), _KEEP)


def open_text(path: Path, encoding: str = "") -> TextIO:
    """A file's text, as `decode` has it, with the line ends that it has."""
    with path.open("rb") as opened:
        head = opened.read(4)
    return path.open(encoding=_codec(head, encoding), errors=_KEEP, newline="")


def _codec(head: bytes, encoding: str) -> str:
    check_encoding(encoding)
    return next((name for mark, name in _MARKS if head.startswith(mark)), encoding or "utf-8")


def _kept(error: UnicodeError) -> tuple[str, int]:
    # Unlike `surrogateescape` also for bytes below 0x80, which are undecodable in UTF-16.
    if not isinstance(error, UnicodeDecodeError):
        raise error
    broken = error.object[error.start : error.end]
    return "".join(chr(0xDC80 | byte) for byte in broken), error.end


_KEEP = "vila2-kept"
codecs.register_error(_KEEP, _kept)


def check_encoding(name: str) -> None:
    """Raise `DataError` unless `name` is empty or a text encoding that Python knows."""
    try:
        if name and not codecs.lookup(name)._is_text_encoding:
            raise LookupError(name)
    except (LookupError, ValueError) as error:
        raise DataError(
            f"unknown encoding {name!r}", field="encoding", fix="Use one such as cp1252 or utf-16"
        ) from error


def undecoded(text: str) -> str:
    """The first byte that was not decoded, such as `0xe9`; empty if there is none."""
    found = _BYTE.search(text)
    return f"0x{ord(found[0]) & 0xFF:02x}" if found else ""


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
