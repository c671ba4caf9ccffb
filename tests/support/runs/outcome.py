"""All that a finished run is, without the ids, names and times that differ between any two runs."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any

from vila2.client import Client
from vila2.data.layers import CaptionRow, decode_layer_shard


def outcome(client: Client, run_id: str) -> dict[str, Any]:
    """Two runs of one recipe on one world are equal where these are."""
    run = client.controller.run(run_id)
    events: dict[str, list[str]] = {}
    for happened in client.controller.events(run.id):
        said = f"{happened.kind}: {nameless(happened.message, run.name)}"
        events.setdefault(happened.round, []).append(said)
    models = {m.name: m.sha256 for m in client.training.models()}
    jobs = list(client.training.jobs(run=run.id))
    return {
        "state": run.state,
        "rounds": {
            held.name: {
                "kind": held.kind,
                "state": held.state,
                "scores": held.scores,
                "verdict": nameless(repr(held.verdict), run.name),
                "model": models[held.model],
                "seeds": {one.seed: models[one.model] for one in held.seeds},
                "captions": digest(rows_of(client, held.layer)),
            }
            for held in run.rounds
        },
        "events": events,
        "weights": sorted(models[job.model] for job in jobs if job.model),
        "jobs": Counter((nameless(job.name, run.name), job.kind, job.state) for job in jobs),
        "layers": sorted(
            (nameless(layer.name, run.name), layer.state, digest(rows_of(client, layer.id)))
            for layer in client.datasets.layers()
            if layer.name.startswith(run.name)
        ),
    }


def rows_of(client: Client, layer: str) -> list[CaptionRow]:
    """Every row of a layer, in the order of its shards; none of no layer."""
    if not layer:
        return []
    return [
        row
        for shard in client.datasets.layer_shards(layer)
        for row in decode_layer_shard(client.datasets.layer_content(layer, shard.number))
    ]


def digest(rows: list[CaptionRow]) -> str:
    """What a layer says, and by which attempt; empty of no rows."""
    text = "\n".join(f"{row.key} {row.status} {row.attempt} {row.caption}" for row in rows)
    return hashlib.sha256(text.encode()).hexdigest() if rows else ""


def nameless(text: str, run: str) -> str:
    """Without what is drawn anew for each run: ids, its name, names of models and jobs."""
    text = re.sub(r"\b(run|job|layer|layer-job|specialist)-[0-9a-f]{6,}", r"\1-#", text)
    text = re.sub(r"-[0-9a-f]{8}-[0-9a-f]{4}\b", "-#", text)
    return text.replace(run, "RUN")
