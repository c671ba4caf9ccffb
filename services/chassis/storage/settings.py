"""Where a platform stores metadata and objects, from environment variables.

If none is set, both are stored in the workspace: metadata in SQLite, objects in a directory.

    VILA2_DATABASE_URL   postgresql+psycopg://USER:PASSWORD@HOST/DATABASE
    VILA2_S3_ENDPOINT    HOST:PORT of an S3-compatible server, with VILA2_S3_BUCKET,
                         VILA2_S3_ACCESS_KEY, VILA2_S3_SECRET_KEY and, for plain HTTP,
                         VILA2_S3_SECURE=false
"""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import MetaData

from services.chassis.storage.database import Database
from services.chassis.storage.migrations import Migrations
from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.objects_directory import DirectoryObjects
from services.chassis.storage.sources import SourcedObjects, Sources


class StorageSettings(BaseSettings):
    """Selects the adapters for databases and the object store."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    database_url: SecretStr = SecretStr("")
    s3_endpoint: str = ""
    s3_bucket: str = "vila2"
    s3_access_key: SecretStr = SecretStr("")
    s3_secret_key: SecretStr = SecretStr("")
    s3_secure: bool = True
    s3_connections: int = 32

    @property
    def shared(self) -> bool:
        """Whether other processes may use the same database."""
        return bool(self.database_url.get_secret_value())

    def database(self, workspace: Path, metadata: MetaData, migrations: Migrations) -> Database:
        """Open a service's database and migrate it to the newest step."""
        url = self.database_url.get_secret_value()
        if url:
            return Database.open(url, metadata, migrations)
        path = workspace / "db" / f"{migrations.service}.sqlite"
        return Database.sqlite(path, metadata, migrations)

    def repository(self, workspace: Path, prefix: str) -> str:
        """A prefix as the address of a Triton model repository: a folder (created), or S3."""
        if self.s3_endpoint:
            scheme = "https" if self.s3_secure else "http"
            return f"s3://{scheme}://{self.s3_endpoint}/{self.s3_bucket}/{prefix}"
        folder = workspace / "objects" / prefix
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def storage_keys(self) -> dict[str, str]:
        """Environment variables that give other programs access to S3; empty without S3."""
        if not self.s3_endpoint:
            return {}
        return {
            "AWS_ACCESS_KEY_ID": self.s3_access_key.get_secret_value(),
            "AWS_SECRET_ACCESS_KEY": self.s3_secret_key.get_secret_value(),
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def objects(self, workspace: Path, sources: Sources, *, create: bool = True) -> ObjectStore:
        """Open the object store, which also reads objects in the configured sources.

        A missing bucket is created unless `create` is false.
        """
        cache = workspace / "cache"
        inner: ObjectStore
        if self.s3_endpoint:
            from services.chassis.storage.objects_s3 import S3Objects

            inner = S3Objects(
                self.s3_endpoint,
                self.s3_bucket,
                access_key=self.s3_access_key.get_secret_value(),
                secret_key=self.s3_secret_key.get_secret_value(),
                secure=self.s3_secure,
                connections=self.s3_connections,
                cache=cache / "objects",
                create=create,
            )
        else:
            inner = DirectoryObjects(workspace / "objects")
        return SourcedObjects(inner, sources, views=cache / "in-place")
