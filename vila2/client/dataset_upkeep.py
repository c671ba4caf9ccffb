"""Requests to the dataset store that delete, thin out and measure."""

from __future__ import annotations

from vila2.client.http import SLOW, Rest, segment
from vila2.schemas.rest import dataset_upkeep as api
from vila2.schemas.rest.datasets import Version


class DatasetUpkeep(Rest):
    """The part of the dataset store's client that deletes, thins out and measures."""

    def delete(
        self,
        name: str,
        version: int = 0,
        *,
        with_layers: bool = False,
        despite_models: bool = False,
        reason: str = "",
    ) -> api.Deletion:
        """Begin to delete a version, or with version 0 the whole dataset.

        Raises `ApiError` that names what depends on it.
        """
        path = f"datasets/{segment(name)}" + (f"/versions/{version}" if version else "")
        asked = api.DeletionIn(
            with_layers=with_layers, despite_models=despite_models, reason=reason
        )
        return self.one(api.Deletion, "DELETE", path, params=asked.model_dump())

    def deletion(self, deletion: str) -> api.Deletion:
        """The record of a deletion."""
        return self.one(api.Deletion, "GET", f"deletions/{segment(deletion)}")

    def deletions(self) -> list[api.Deletion]:
        """All deletions, newest first."""
        return self.many(api.Deletion, "deletions")

    def exclude(
        self, name: str, version: int, body: api.ExcludeIn, token: str | None = None
    ) -> Version:
        """Begin to make a new version without some samples; version 0 is the one in use.

        The same token returns the version that the first request made.
        """
        path = f"datasets/{segment(name)}/versions/{version}/exclude"
        return self.create_one(Version, path, body, token=token)

    def usage(self) -> api.StorageUsage:
        """What the team stores, by dataset and version."""
        return self.one(api.StorageUsage, "GET", "usage", timeout=SLOW)

    def garbage(self) -> api.Garbage:
        """Abandoned uploads and objects that no row refers to."""
        return self.one(api.Garbage, "GET", "garbage", timeout=SLOW)

    def collect_garbage(self) -> api.Garbage:
        """Delete what `garbage` returns."""
        return self.one(api.Garbage, "DELETE", "garbage", timeout=SLOW)
