"""Canonical JSON, the input of hashes, digests, tokens and fingerprints."""

from __future__ import annotations

import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Compact JSON with sorted keys, in UTF-8: the same bytes in every process and release.

    Raises `ValueError` for a number that is not finite and `TypeError` for what JSON does not have.
    A lone surrogate, which text from undecodable file names can hold, is encoded as it is.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8", "surrogatepass")
