"""Sources: buckets from which an operator lets teams register data without copying it.

Users refer to a source by name. Addresses are in the operator's file and credentials in the
environment variables that it names.

    lab:
      endpoint: s3.example.org
      bucket: images
      access_key_env: LAB_ACCESS_KEY
      secret_key_env: LAB_SECRET_KEY
      teams: [vision]        # optional; default: all teams
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from services.chassis.storage.objects import ObjectStore, StoredObject
from services.chassis.web.errors import Invalid

if TYPE_CHECKING:
    from services.chassis.storage.objects_s3 import S3Objects

FILE_VARIABLE = "VILA2_SOURCES"


class SourceSettings(BaseModel):
    """One entry of the operator's file."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str
    bucket: str
    access_key_env: str
    secret_key_env: str
    secure: bool = True
    region: str = "us-east-1"
    teams: list[str] = []


class Sources:
    """The configured sources; connections are made when one is first used."""

    def __init__(self, settings: Mapping[str, SourceSettings], *, cache: Path) -> None:
        self._settings, self._cache = dict(settings), cache
        self._open: dict[str, S3Objects] = {}

    @classmethod
    def load(cls, path: Path, *, cache: Path) -> Sources:
        """Read the operator's file; without one there are no sources."""
        if not path.is_file():
            return cls({}, cache=cache)
        held = yaml.safe_load(path.read_text()) or {}
        return cls(TypeAdapter(dict[str, SourceSettings]).validate_python(held), cache=cache)

    def check(self, name: str, team: str) -> None:
        """Raise `Invalid` unless the team may use the source."""
        held = self._settings.get(name)
        if held is None or (held.teams and team not in held.teams):
            mine = [n for n, s in self._settings.items() if not s.teams or team in s.teams]
            raise Invalid(
                f"there is no source {name!r} for this team",
                field="origin",
                fix=f"use one of {', '.join(sorted(mine))}" if mine else "ask the operator for one",
            )

    def open(self, name: str) -> S3Objects:
        """The source's bucket, used read-only."""
        if name not in self._open:
            from services.chassis.storage.objects_s3 import S3Objects

            held = self._settings[name]
            self._open[name] = S3Objects(
                held.endpoint,
                held.bucket,
                access_key=os.environ[held.access_key_env],
                secret_key=os.environ[held.secret_key_env],
                secure=held.secure,
                region=held.region,
                cache=self._cache / name,
                create=False,
            )
        return self._open[name]


def sources_of(workspace: Path) -> Sources:
    """The sources of an embedded platform: the named file, or `sources.yaml` in its workspace."""
    path = Path(os.environ.get(FILE_VARIABLE) or workspace / "sources.yaml")
    return Sources.load(path, cache=workspace / "cache" / "sources")


IN_PLACE = "in-place"


def in_place_key(source: str, tar: str, digest: str) -> str:
    """Object key of the index of a tar that stays in its source."""
    return f"{IN_PLACE}/{source}/{tar}/{digest}.index.parquet"


class SourcedObjects(ObjectStore):
    """An object store that also reads shards whose tars are in a source.

    For such a shard's index, `local` returns a folder that holds both the index and the tar. All
    other calls are delegated to the store.
    """

    def __init__(self, inner: ObjectStore, sources: Sources, *, views: Path) -> None:
        self._inner, self._sources, self._views = inner, sources, views

    def put(self, key: str, data: bytes) -> None:
        """Delegated to the store."""
        self._inner.put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Delegated to the store."""
        return self._inner.put_if_absent(key, data)

    def put_file(self, key: str, path: Path) -> None:
        """Delegated to the store."""
        self._inner.put_file(key, path)

    def get(self, key: str) -> bytes:
        """Delegated to the store."""
        return self._inner.get(key)

    def fetch(self, key: str, path: Path) -> None:
        """Delegated to the store."""
        self._inner.fetch(key, path)

    def exists(self, key: str) -> bool:
        """Delegated to the store."""
        return self._inner.exists(key)

    def delete(self, key: str) -> None:
        """Delegated to the store."""
        self._inner.delete(key)

    def keys(self, prefix: str | None = None) -> Iterator[str]:
        """Delegated to the store."""
        return self._inner.keys(prefix)

    def entries(self, prefix: str) -> Iterator[StoredObject]:
        """Delegated to the store."""
        return self._inner.entries(prefix)

    def put_directory(self, prefix: str, directory: Path) -> None:
        """Delegated to the store."""
        self._inner.put_directory(prefix, directory)

    def forget(self, key: str) -> None:
        """Delegated to the store."""
        self._inner.forget(key)

    def local(self, key: str) -> Path:
        """Local path of the object; for an in-place index, the folder with its tar beside it."""
        index = self._inner.local(key)
        if not key.startswith(f"{IN_PLACE}/"):
            return index
        _, source, rest = key.split("/", 2)
        tar = self._sources.open(source).local(rest.rsplit("/", 1)[0])
        # The tar's local path includes its version in the source, so a changed tar gets a new view.
        name_of_both = hashlib.sha256(f"{index}\n{tar}".encode()).hexdigest()[:32]
        # Both are called by it too: whoever keeps something by a shard's name must not mix two up.
        view = self._views / name_of_both
        view.mkdir(parents=True, exist_ok=True)
        for name, target in ((".index.parquet", index), (".tar", tar)):
            link = view / f"{name_of_both}{name}"
            if not link.is_symlink():
                try:
                    link.symlink_to(target.resolve())
                except FileExistsError:
                    continue  # another thread created it first
        return view / f"{name_of_both}.index.parquet"
