"""Exporting a captioned dataset: record it at the store, count it, write it with its card."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vila2.client.client import ApiError, Client
from vila2.client.joined import joined as joined
from vila2.data.assembly import assemble
from vila2.data.errors import DataError
from vila2.data.layers import CAPTIONED, decode_layer_shard
from vila2.data.writers import Captioned, ExportSummary, check_target
from vila2.data.writers import export as write_export
from vila2.data.writers.card import dataset_card
from vila2.schemas.assembly import Assembly
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.datasets import Audit, Export, ExportIn, Layer, Version

TEXTS = ("recaption", "concat", "original")
NOT_THERE = "not-captioned-yet"


@dataclass
class ExportPlan:
    """The samples of an export, counted from the layer alone before any image is read.

    `without_caption` counts the samples without a caption, by reason. With `keep` they are exported
    with their original text; otherwise they are left out.
    """

    client: Client
    version: Version
    layer: Layer | None
    text: str
    keep: bool
    record: Export
    without_caption: Counter[str] = field(default_factory=Counter)
    prompts: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.layer is None:
            return
        datasets, layer = self.client.datasets, self.layer
        for shard in datasets.layer_shards(layer.id):
            data = datasets.layer_content(layer.id, shard.number, export=self.record.id)
            for row in decode_layer_shard(data):
                self.prompts[row.prompt] = None
                if row.status != CAPTIONED:
                    self.without_caption[row.reason] += 1
        there = layer.captioned + sum(layer.quarantined.values())
        if there < self.version.samples:
            self.without_caption[NOT_THERE] += self.version.samples - there

    @property
    def count(self) -> int:
        """The number of exported samples."""
        return self.version.samples - (0 if self.keep else self.without_caption.total())

    def samples(self, *, images: bool = True) -> Iterator[Captioned]:
        """Every exported sample, with its text and how its caption was made."""
        policy = Assembly.model_validate(
            {
                "policy": self.text,
                "caption_layer": "" if self.text == "original" else "layer",
                "missing": "original",
            }
        )
        layers = [self.layer] if self.layer is not None else []
        name, number = self.version.dataset, self.version.version
        rows_of = joined(
            self.client, name, layers, version=number, export=self.record.id, images=images
        )
        for sample, rows in rows_of:
            row = rows[0] if rows else None
            caption = row.caption if row is not None and row.status == CAPTIONED else None
            if layers and caption is None and not self.keep:
                continue
            assembled = assemble(sample, {"layer": caption}, policy, seed=0, visit=0)
            captions = {layers[0].name: row} if row is not None else {}
            yield Captioned(sample=sample, text=assembled.plain, captions=captions)

    def card(self, format: str) -> str:
        """The dataset card."""
        version, layer, count = self.version, self.layer, dict(self.without_caption)
        left_out = {} if self.keep else count
        waiver = self.record.waiver and f"{self.record.waiver} (export {self.record.id})"
        audit = self._audit()
        return dataset_card(
            dataset=version.dataset,
            version=version.version,
            digest=version.sha256,
            source=version.source,
            licence=version.licence,
            format=format,
            text=self.text,
            exported=version.samples - sum(left_out.values()),
            admitted=version.samples,
            rejected=version.rejected,
            repeated_captions=version.repeated_captions,
            left_out=left_out,
            fallbacks=count if self.keep else {},
            taken_down=version.taken_down,
            layer=layer.name if layer else "",
            captioner=layer.captioner if layer else "",
            prompts=list(self.prompts),
            captioned=layer.captioned if layer else 0,
            quarantined=layer.quarantined if layer else {},
            recipe_hash=layer.recipe_hash if layer else "",
            scores=self._scores(),
            waiver=waiver,
            near_duplicates=audit.near_duplicates if audit else None,
            contamination={h.benchmark: h.exact + h.near for h in audit.contamination}
            if audit
            else {},
        )

    def _scores(self) -> dict[str, tuple[float, float, float]]:
        """The captioner's scores in the run that trained it, or none."""
        if self.layer is None:
            return {}
        for run in self.client.controller.runs():
            for held in run.rounds:
                if held.model == self.layer.captioner:
                    return {
                        name: (score["score"], score["low"], score["high"])
                        for name, score in held.scores.items()
                    }
        return {}

    def _audit(self) -> Audit | None:
        """The findings of the version's audit, or none."""
        with contextlib.suppress(ApiError):
            found = self.client.datasets.audit(self.version.dataset, self.version.version)
            return found if found.state == "done" else None
        return None


def export_dataset(
    client: Client,
    dataset: str,
    out: Path,
    *,
    layer: str = "",
    format: str = "webdataset",
    text: str = "recaption",
    keep_original: bool = False,
    waiver: str = "",
    shard_size: int = 2000,
    report: Callable[[int, int], None] = lambda *_: None,
) -> tuple[ExportSummary, ExportPlan]:
    """Write a dataset with a layer's captions into the folder `out`, which must not exist yet.

    `dataset` is NAME or NAME@VERSION; by default the version that the layer was made for. With
    `keep_original`, samples without a caption are exported with their original text. A layer that
    is not sealed needs a `waiver`: the reason to export it anyway, recorded and shown in the card.
    `report` is passed the samples written and their total. Raises `DataError` and `ApiError`.
    """
    check_target(format, out)  # before the store records an export
    plan = begin_export(
        client, dataset, layer=layer, format=format, text=text, keep_original=keep_original,
        waiver=waiver,
    )  # fmt: skip
    summary = write_export(
        format,
        plan.samples(),
        out,
        shard_size=shard_size,
        card=plan.card(format),
        progress=lambda done: report(done, plan.count),
    )
    return summary, plan


def begin_export(
    client: Client,
    dataset: str,
    *,
    layer: str,
    format: str,
    text: str,
    keep_original: bool,
    waiver: str,
) -> ExportPlan:
    """Record an export at the store and count its samples; nothing is written yet."""
    if text not in TEXTS:
        raise DataError(
            f"unknown text {text!r}", field="text", fix=f"Use one of {', '.join(TEXTS)}"
        )
    if text != "original" and not layer:
        raise DataError(
            "no layer is named",
            field="layer",
            fix="`vila2 captions list` lists them; --text original exports without one",
        )
    try:
        ref = DatasetRef.parse(dataset)
    except ValueError as error:
        raise DataError(str(error), field="dataset") from error
    held = client.datasets.layer(layer) if layer else None
    if held is not None and held.dataset != ref.name:
        raise DataError(f"layer {held.id} belongs to dataset {held.dataset}", field="layer")
    wanted = ref.version or (held.version if held is not None else 0)
    version = client.datasets.version(ref.name, wanted)
    record = client.datasets.begin_export(
        ExportIn(
            dataset=ref.name,
            version=version.version,
            layer=held.id if held is not None else "",
            format=format,
            text=text,
            waiver=waiver,
        )
    )
    return ExportPlan(client, version, held, text, keep_original, record)
