"""Exporting captions as files beside the images that a dataset was submitted from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vila2.client.client import Client
from vila2.client.export import ExportPlan, begin_export
from vila2.data.writers.sidecars import FORMAT, SidecarSummary, check_folder, write_sidecars


def export_sidecars(
    client: Client,
    dataset: str,
    folder: Path,
    *,
    layer: str = "",
    text: str = "recaption",
    keep_original: bool = False,
    waiver: str = "",
    overwrite: bool = False,
    report: Callable[[int, int], None] = lambda *_: None,
) -> tuple[SidecarSummary, ExportPlan]:
    """Write a layer's captions as `.txt` beside the images in `folder`; no image is downloaded.

    Arguments are those of `export_dataset`; `folder` is the one that was submitted. A `.txt` with a
    different text is kept, or with `overwrite` saved as `.txt.bak` and replaced. Raises `DataError`
    and `ApiError`.
    """
    check_folder(folder)  # before the store records an export
    plan = begin_export(
        client, dataset, layer=layer, format=FORMAT, text=text, keep_original=keep_original,
        waiver=waiver,
    )  # fmt: skip
    summary = write_sidecars(
        plan.samples(images=False),
        folder,
        overwrite=overwrite,
        progress=lambda done: report(done, plan.count),
    )
    return summary, plan
