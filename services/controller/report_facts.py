"""What a report says about work: what each round cost, and what each model comes from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from services.controller.tables import RoundRow
from vila2.api.controller import Event
from vila2.client import ApiError, Client
from vila2.evaluation.report.facts import Cost, Costs, DataRead, LayerRead, Lineage

_WAITED_FOR = ("captioning", "specialising")


def costs(platform: Client, run: str, rows: Sequence[RoundRow], events: Sequence[Event]) -> Costs:
    """Seconds by round from its jobs and events; hours of the whole run as they are accounted."""
    used = [usage for usage in platform.training.usage("run") if usage.run == run]
    return Costs(
        rounds=[
            Cost(
                name=row.name,
                captioning=_waited(row.name, events),
                training=_seconds(platform, row.train_job),
                evaluation=_seconds(platform, row.evaluate_job),
            )
            for row in rows
        ],
        gpu_hours=sum(usage.gpu_hours for usage in used),
        process_hours=sum(usage.process_hours for usage in used),
        jobs=sum(usage.jobs for usage in used),
        attempts=sum(usage.attempts for usage in used),
    )


def lineage(platform: Client, rows: Sequence[RoundRow]) -> list[Lineage]:
    """Of every model that the rounds trained; a model that is gone is left out."""
    found = []
    for row in rows:
        if row.model and (held := _lineage(platform, row)) is not None:
            found.append(held)
    return found


def _lineage(platform: Client, row: RoundRow) -> Lineage | None:
    try:
        details = platform.training.model_details(row.model)
    except ApiError as error:
        if error.passing:
            raise
        return None
    return Lineage(
        name=row.name,
        model=details.name,
        sha256=details.sha256,
        parent=details.parent,
        job=details.job,
        reads=[
            DataRead(
                stage=item.stage,
                dataset=f"{item.dataset}@{item.version}",
                sha256=item.sha256,
                samples=item.samples,
                policy=str(item.assembly.get("policy", "")),
                layers=[
                    LayerRead(**{k: v for k, v in layer.items() if k != "alias"})
                    for layer in item.layers
                ],
            )
            for item in details.lineage
        ],
    )


def _seconds(platform: Client, job: str) -> float | None:
    return platform.training.job(job).seconds if job else None


def _waited(name: str, events: Sequence[Event]) -> float | None:
    """From the event that a round began captioning to its next event."""
    mine = [event for event in events if event.round == name]
    for event, after in pairwise(mine):
        if event.kind.removeprefix("round.") in _WAITED_FOR:
            return max(0.0, after.at - event.at)
    return None
