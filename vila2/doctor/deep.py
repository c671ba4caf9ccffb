"""Reads everything that a team has stored, and compares it with its digests.

The dataset store checks bytes whenever it sends them, so reading them is the check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vila2.client import ApiError, Client
from vila2.doctor.finding import Finding, ok, problem
from vila2.schemas.rest.dataset_upkeep import LayerUsage
from vila2.system.numbers import counted

Report = Callable[[str], None]


def findings(client: Client, report: Report = lambda _: None) -> Iterator[Finding]:
    """One finding for each ready version of a dataset, and one for each of its sealed layers."""
    for dataset in client.datasets.usage().datasets:
        for version in dataset.versions:
            if version.state == "ready":
                name = f"{dataset.dataset}@{version.version}"
                report(name)
                yield _version(client, name, dataset.dataset, version.version)
                yield from (
                    _layer(client, layer, name)
                    for layer in version.layers
                    if layer.state == "sealed"
                )


def _version(client: Client, name: str, dataset: str, number: int) -> Finding:
    def read(index: int) -> int:
        content = client.datasets.shard_content(dataset, number, index)
        return len(content) + len(client.datasets.shard_index(dataset, number, index))

    return _read(f"data {name}", lambda: client.datasets.version(dataset, number).shards, read)


def _layer(client: Client, layer: LayerUsage, name: str) -> Finding:
    return _read(
        f"layer {layer.name} of {name}",
        lambda: len(client.datasets.layer_shards(layer.id)),
        lambda index: len(client.datasets.layer_content(layer.id, index)),
    )


def _read(what: str, shards: Callable[[], int], read: Callable[[int], int]) -> Finding:
    """Read every shard, also after a damaged one; what was deleted meanwhile is no problem."""
    size, count, damaged, fix = 0, 0, [], ""
    try:
        count = shards()
    except ApiError as error:
        return _unread(what, error)
    for index in range(count):
        try:
            size += read(index)
        except ApiError as error:
            if not error.problem.type.endswith(":damaged"):
                return _unread(what, error)
            damaged.append(f"shard {index}: {error.problem.detail}")
            fix = fix or error.problem.fix or "restore it from a backup"
    if damaged:
        return problem(what, "; ".join(damaged)[:1000], fix=fix)
    return ok(what, f"{counted(count, 'shard')}, {counted(size, 'byte')} as they were stored")


def _unread(what: str, error: ApiError) -> Finding:
    """It was deleted meanwhile, or it could not be read for another reason than damage."""
    if error.problem.status == 404:
        return ok(what, "was deleted meanwhile")
    return problem(
        what, f"cannot be read: {error}", fix="see the log of the service, and try again"
    )
