"""Submitting one source as several datasets: training images, conversations, a benchmark."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from vila2.client.client import Client
from vila2.client.submission.opening import (
    KIND_OF_FORMAT,
    READ_BY_STORE,
    About,
    open_version,
    opened_source,
)
from vila2.client.submit import Report, fill, token_of
from vila2.data.admission import Admission
from vila2.data.errors import DataError
from vila2.data.images.in_flight import cores
from vila2.data.readers import ReadOptions
from vila2.data.readers.base import Reader
from vila2.data.sample import RawSample
from vila2.data.splitting.choice import Choice, choose
from vila2.data.splitting.plan import ROLES, SplitPlan, as_conversation, as_question
from vila2.schemas.rest.datasets import DatasetIn, Kind, Version


def submit_splits(
    client: Client,
    path: Path,
    plan: SplitPlan,
    *,
    name: str,
    format: str,
    shard_samples: int = 2000,
    options: ReadOptions | None = None,
    source: str = "",
    licence: str = "",
    again: bool = False,
    report: Report = lambda *_: None,
    poll_seconds: float = 0.3,
) -> list[Version]:
    """Submit NAME and NAME-SPLIT for each split; returns their versions, that of NAME first.

    Captioned images become conversations in `sft` and a benchmark in `dev` and `test`. Images are
    chosen among those that can be admitted; every sample is submitted to one dataset, and what is
    refused is counted once. Submitting again finds the same versions. Raises `DataError` before
    anything is stored if there are too few images.
    """
    kind = _divisible(format)
    datasets = {split: DatasetIn(name=f"{name}-{split}", kind=kind_of(split, kind))
                for split in plan.sizes}  # fmt: skip
    datasets = {"": DatasetIn(name=name, kind=kind), **datasets}  # names are checked first
    reader, options = opened_source(format, path, options)
    choice = _chosen(reader, options, plan, report)
    plan.check(choice.available, name)
    known = token_of(reader.tree(), "")

    def token(how: str) -> str:
        return hashlib.sha256(f"{known}:{plan.sizes}:{plan.seed}:{how}".encode()).hexdigest()[:32]

    about = About(format, options, source or path.name, licence, shard_samples, again)
    for dataset in datasets.values():  # so that one of another kind is refused before all others
        client.datasets.create(dataset)
    return [
        fill(
            client,
            open_version(client, dataset, about, token),
            _part(reader.read(), choice, split, dataset),
            None,
            report,
            poll_seconds,
        )
        for split, dataset in datasets.items()
    ]


def kind_of(split: str, kind: Kind) -> Kind:
    """The kind of a split's dataset, of a source of some kind."""
    return ROLES.get(split, kind) if kind == "pairs" else kind


def _divisible(format: str) -> Kind:
    if format in READ_BY_STORE:
        raise DataError(
            f"format {format} is read by the store, and splits are made where files are read",
            field="split",
            fix="Download the images first, and submit the folder",
        )
    kind = KIND_OF_FORMAT.get(format, "pairs")
    if kind == "benchmark":
        raise DataError(
            "a benchmark is not divided", field="split", fix="Divide its items.jsonl yourself"
        )
    return kind


def _chosen(reader: Reader, options: ReadOptions, plan: SplitPlan, report: Report) -> Choice:
    total = reader.count()
    admission = Admission(
        captionless=options.captionless,
        decoded=not options.structure_only,
        counted=lambda done: report("choosing", done, total),
    )
    try:
        workers = cores() if admission.decoded else 1
        return choose(reader.read(), plan, admission, workers=workers)
    finally:
        admission.close()


def _part(
    raws: Iterator[RawSample], choice: Choice, split: str, dataset: DatasetIn
) -> Iterator[RawSample]:
    held = choice.part(raws, split)
    if not split or dataset.kind == "pairs":
        return held
    if dataset.kind == "benchmark":
        return (as_question(raw, dataset.name) for raw in held)
    return (raw if raw.turns else as_conversation(raw) for raw in held)
