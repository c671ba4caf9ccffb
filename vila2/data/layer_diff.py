"""How the captions of two layers differ. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vila2.data.errors import DataError
from vila2.data.layers import CAPTIONED, CaptionRow


@dataclass
class CaptionDiff:
    """Counts over the samples that both layers have; `examples` are (key, before, after).

    `gained` were quarantined before and are captioned after, `lost` the reverse, `neither` are
    quarantined in both. Words are counted over all captions of each side.
    """

    same: int = 0
    changed: int = 0
    gained: int = 0
    lost: int = 0
    neither: int = 0
    words_before: int = 0
    words_after: int = 0
    examples: list[tuple[str, str, str]] = field(default_factory=list)

    def add(
        self, before: Sequence[CaptionRow], after: Sequence[CaptionRow], *, examples: int = 0
    ) -> None:
        """Count one shard of both layers; keep at most `examples` examples of changes in all."""
        if [row.key for row in before] != [row.key for row in after]:
            raise DataError(
                "the layers hold different samples",
                field="against",
                fix="Compare layers of the same version of one dataset",
            )
        for old, new in zip(before, after, strict=True):
            was, now = old.status == CAPTIONED, new.status == CAPTIONED
            self.words_before += len(old.caption.split()) if was else 0
            self.words_after += len(new.caption.split()) if now else 0
            if was and now and old.caption == new.caption:
                self.same += 1
                continue
            if was and now:
                self.changed += 1
            elif now:
                self.gained += 1
            elif was:
                self.lost += 1
            else:
                self.neither += 1
                continue
            if len(self.examples) < examples:
                self.examples.append((new.key, _shown(old), _shown(new)))


def _shown(row: CaptionRow) -> str:
    return row.caption if row.status == CAPTIONED else f"(quarantined: {row.reason})"
