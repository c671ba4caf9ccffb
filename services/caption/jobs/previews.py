"""Previews and estimates: captions a few samples synchronously, as a caption job would."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from services.caption.captioning.chunks import caption_samples
from services.caption.captioning.how import (
    Captioning,
    Spent,
    check_abilities,
    check_present,
    preview_of,
)
from services.caption.engines.engine import Engines
from services.caption.gate.requirements import check_languages
from services.caption.jobs.quotas import ImageQuotas
from services.caption.serving.deployments import Deployments
from services.chassis.storage.intact import intact_local, stored_shard
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Invalid
from vila2.client import ApiError, Client
from vila2.client.datasets import DatasetsClient
from vila2.data.layers import CaptionRow
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest import caption as api
from vila2.schemas.rest.datasets import Shard


class Previews:
    """Uses the same engines as caption jobs; creates no layer."""

    def __init__(
        self,
        objects: ObjectStore,
        engines: Engines,
        platform: Callable[[str], Client],
        deployments: Deployments,
        quotas: ImageQuotas,
    ) -> None:
        self._objects, self._engines, self._platform = objects, engines, platform
        self._deployments, self._quotas = deployments, quotas

    def preview(self, team: str, body: api.PreviewIn) -> api.Preview:
        """Caption the named samples, or samples drawn with the seed."""
        rows, seconds, spent = self._caption(team, body)
        return preview_of(rows, seconds=seconds, spent=spent)

    def estimate(self, team: str, body: api.PreviewIn) -> api.Estimate:
        """Extrapolate time, tokens and cost of the whole version from a preview."""
        version = self._platform(team).datasets.version(body.dataset, body.version)
        rows, seconds, spent = self._caption(team, body)
        times = version.samples / len(rows)
        return api.Estimate(
            samples=version.samples,
            sampled=len(rows),
            seconds=round(seconds * times, 1),
            prompt_tokens=round(spent.prompt_tokens * times),
            tokens=round(spent.tokens * times),
            cost=round(spent.cost * times, 6),
        )

    def _caption(self, team: str, body: api.PreviewIn) -> tuple[list[CaptionRow], float, Spent]:
        check_languages(body.gate)
        platform = self._platform(team)
        body = body.model_copy(update={"model": self._deployments.resolve(team, body.model)})
        model = platform.training.model(body.model)
        check_present(model)
        check_abilities(body, self._engines.abilities(model.object_prefix))
        samples = (
            self._named(platform.datasets, body)
            if body.keys
            else self._drawn(platform.datasets, body)
        )
        engine = self._engines.get(model.object_prefix)
        self._quotas.admit(team, len(samples))
        began = time.monotonic()
        rows, spent = caption_samples(samples, Captioning.of(body, model=model.name), engine)
        return rows, round(time.monotonic() - began, 3), spent

    def _named(self, datasets: DatasetsClient, body: api.PreviewIn) -> list[Sample]:
        wanted = set(body.keys)
        found: dict[str, Sample] = {}
        for shard in _shards(datasets, body):
            for sample in self._read(body, shard):
                if sample.key in wanted:
                    found[sample.key] = sample
            if len(found) == len(wanted):
                break
        missing = wanted - set(found)
        if missing:
            raise Invalid(
                f"dataset {body.dataset} has no sample {sorted(missing)[0]!r}", field="keys"
            )
        return [found[key] for key in body.keys]

    def _drawn(self, datasets: DatasetsClient, body: api.PreviewIn) -> list[Sample]:
        """Samples in the dataset's order; the same seed always draws the same ones."""
        shards = list(_shards(datasets, body))
        total = sum(shard.samples for shard in shards)
        if not total:
            raise Invalid(f"dataset {body.dataset} has no samples", field="dataset")
        chosen = sorted(random.Random(body.seed).sample(range(total), min(body.count, total)))
        found: list[Sample] = []
        first = 0
        for shard in shards:
            inside = {
                number - first for number in chosen if first <= number < first + shard.samples
            }
            if inside:
                found += [s for n, s in enumerate(self._read(body, shard)) if n in inside]
            first += shard.samples
        return found

    def _read(self, body: api.PreviewIn, shard: Shard) -> Sequence[Sample]:
        version = str(DatasetRef(body.dataset, body.version))
        stored = stored_shard(version, shard.index, shard.object_key, shard.sha256)
        return list(read_shard(intact_local(self._objects, shard.object_key, stored)))


def _shards(datasets: DatasetsClient, body: api.PreviewIn) -> Sequence[Shard]:
    """The shards from which a preview takes its samples."""
    if body.shard is None:
        return list(datasets.each_shard(body.dataset, body.version))
    try:
        return [datasets.shard(body.dataset, body.version, body.shard)]
    except ApiError as error:
        if error.problem.field != "index":
            raise
        raise Invalid(str(error), field="shard", fix="give one that the version has") from error
