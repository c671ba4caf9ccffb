"""Objects in an S3 bucket, through the `minio` client; works with any S3-compatible server."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import urllib3
from minio import Minio
from minio.error import S3Error

from services.chassis.storage.objects import ObjectStore, StoredObject, checked
from vila2.schemas.canonical import canonical_json
from vila2.system.files import directory_atomically

# Marker written below a directory's prefix once all its files are stored. `checked` rejects this
# name, so no caller can read or write it as an object.
_WHOLE = ".whole"
_ABSENT = ("NoSuchKey", "NoSuchBucket")


class S3Objects(ObjectStore):
    """An object store in one bucket, with a local cache for objects that must be read as files.

    `connections` should be the number of threads that use the store: the client's own pool of ten
    makes more than ten workers open a new connection per request.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        *,
        access_key: str,
        secret_key: str,
        cache: Path,
        secure: bool = True,
        region: str = "us-east-1",
        connections: int = 16,
        create: bool = True,
    ) -> None:
        pool = urllib3.PoolManager(
            maxsize=connections,
            timeout=urllib3.Timeout(connect=5, read=60),
            retries=urllib3.Retry(total=5, backoff_factor=0.2, status_forcelist=[500, 502, 503]),
        )
        self._client = Minio(
            endpoint,
            access_key=access_key,
            secret_key=secret_key,
            secure=secure,
            region=region,
            http_client=pool,
        )
        self._bucket = bucket
        self._cache = cache
        self._cache.mkdir(parents=True, exist_ok=True)
        if create and not self._client.bucket_exists(bucket):
            self._make_bucket()

    def put(self, key: str, data: bytes) -> None:
        """Upload atomically; large objects are sent in several parts."""
        self._client.put_object(self._bucket, checked(key), io.BytesIO(data), len(data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Conditional write (If-None-Match: *); the server resolves concurrent writes."""
        try:
            # The client has no public API for conditional writes.
            self._client._put_object(
                self._bucket, checked(key), data, cast("Any", {"If-None-Match": "*"})
            )
        except S3Error as error:
            if error.code in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            raise
        return True

    def put_file(self, key: str, path: Path) -> None:
        """Upload from disk; large files are sent in several parts."""
        self._client.fput_object(self._bucket, checked(key), str(path))

    def get(self, key: str) -> bytes:
        """Download an object; raises `KeyError` if it is missing."""
        try:
            response = self._client.get_object(self._bucket, checked(key))
        except S3Error as error:
            if error.code in _ABSENT:
                raise KeyError(key) from error
            raise
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def fetch(self, key: str, path: Path) -> None:
        """Download to a file; raises `KeyError` if the object is missing."""
        try:
            self._client.fget_object(self._bucket, checked(key), str(path))
        except S3Error as error:
            if error.code in _ABSENT:
                raise KeyError(key) from error
            raise

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return self._etag(checked(key)) is not None

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is not an error."""
        self._client.remove_object(self._bucket, checked(key))

    def keys(self, prefix: str | None = None) -> Iterator[str]:
        """Keys below `prefix`, sorted locally: not every server sorts by the key's bytes."""
        below = "" if prefix is None else checked(prefix)
        yield from sorted(key for key, _ in self._listed(below))

    def entries(self, prefix: str) -> Iterator[StoredObject]:
        """Objects below `prefix`, as the server lists them."""
        for held in self._client.list_objects(self._bucket, f"{checked(prefix)}/", recursive=True):
            if held.last_modified is not None and not (held.object_name or "").endswith(_WHOLE):
                written = held.last_modified.timestamp()
                yield StoredObject(held.object_name or "", held.size or 0, written)

    def put_directory(self, prefix: str, directory: Path) -> None:
        """Upload a directory's files, then a marker that it is complete.

        An interrupted upload has no marker, so its files are uploaded again.
        """
        mark = f"{checked(prefix)}/{_WHOLE}"
        if self._etag(mark) is not None:
            return  # directory prefixes are content-addressed: the files are identical
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            key = checked(f"{prefix}/{path.relative_to(directory).as_posix()}")
            self._client.fput_object(self._bucket, key, str(path))
        self._client.put_object(self._bucket, mark, io.BytesIO(b""), 0)

    def local(self, key: str) -> Path:
        """Download what is not cached; the cache is keyed by ETag.

        Raises `KeyError` if there is neither an object nor anything below the prefix.
        """
        etag = self._etag(checked(key))
        if etag is not None:
            return self._cached([(key, etag)], of=key)
        found = list(self._listed(key))
        if not found:
            raise KeyError(key)
        return self._cached(found, of=key)

    def forget(self, key: str) -> None:
        """Remove the cached copy of this object's present version."""
        etag = self._etag(checked(key))
        if etag is not None:
            shutil.rmtree(self._copy_of([(key, etag)]), ignore_errors=True)

    def _copy_of(self, objects: list[tuple[str, str]]) -> Path:
        return self._cache / hashlib.sha256(canonical_json(sorted(objects))).hexdigest()[:32]

    def _cached(self, objects: list[tuple[str, str]], *, of: str) -> Path:
        target = self._copy_of(objects)
        if not target.exists():
            with directory_atomically(target, or_keep=True, mode=0o700) as partial:
                for key, _ in objects:
                    self._client.fget_object(self._bucket, key, str(partial / key))
        return target / of

    def _listed(self, prefix: str) -> Iterator[tuple[str, str]]:
        below = f"{prefix}/" if prefix else ""
        for held in self._client.list_objects(self._bucket, prefix=below, recursive=True):
            name = held.object_name or ""
            if not name.endswith(f"/{_WHOLE}"):
                yield name, held.etag or ""

    def _etag(self, key: str) -> str | None:
        try:
            return self._client.stat_object(self._bucket, key).etag or ""
        except S3Error as error:
            if error.code in _ABSENT:
                return None
            raise

    def _make_bucket(self) -> None:
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            # Several services may start at once; one of them creates it.
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
