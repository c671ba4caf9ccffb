"""What an export writes: a sample with its captions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vila2.data.sample import Sample


@dataclass(frozen=True, slots=True)
class Captioned:
    """A sample, its caption in each layer by the layer's name, and the assembled text.

    `text` is what a reader of the export finds as the caption; it may be empty only where the
    format is one of conversations and the sample has turns.
    """

    sample: Sample
    captions: Mapping[str, str]
    text: str

    @property
    def file_name(self) -> str:
        """The picture's name in the export, such as `000123.jpg`."""
        return f"{self.sample.key}.{self.sample.extension}"

    def provenance(self) -> dict[str, Any]:
        """Where the text comes from: the original, the layers, and the picture's digest."""
        return {
            "original": self.sample.caption,
            "captions": dict(self.captions),
            "sha256": self.sample.sha256,
            "source": self.sample.source,
        }
