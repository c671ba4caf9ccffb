"""The benchmarks that can be added by name."""

from __future__ import annotations

from vila2.benchmarks import coco_captions, docvqa, easy_vqa, pope, refcoco, scenes, sugarcrepe
from vila2.benchmarks.source import Source
from vila2.data.errors import DataError

CATALOGUE: dict[str, Source] = {
    source.name: source
    for source in (
        scenes.SOURCE,
        easy_vqa.SOURCE,
        pope.SOURCE,
        sugarcrepe.ASKED,
        sugarcrepe.WEIGHED,
        coco_captions.SOURCE,
        docvqa.SOURCE,
        refcoco.SOURCE,
    )
}


def source_named(name: str) -> Source:
    """The source of this name; the error lists the known names."""
    if name not in CATALOGUE:
        raise DataError(
            f"there is no benchmark {name!r}",
            field="name",
            fix=f"Use one of {', '.join(CATALOGUE)}; your own goes in by `vila2 datasets submit "
            "--format benchmark`",
        )
    return CATALOGUE[name]
