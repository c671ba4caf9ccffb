"""Where a platform keeps its rows and its objects, from environment variables.

Without any of these variables everything is in the workspace: SQLite files and a directory.

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
    """The seams for rows and objects."""

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
        """Whether other processes may work on the same rows."""
        return bool(self.database_url.get_secret_value())

    def database(self, workspace: Path, metadata: MetaData, migrations: Migrations) -> Database:
        """A service's database, brought to its newest step."""
        url = self.database_url.get_secret_value()
        if url:
            return Database.open(url, metadata, migrations)
        path = workspace / "db" / f"{migrations.service}.sqlite"
        return Database.sqlite(path, metadata, migrations)

    def repository(self, workspace: Path, prefix: str) -> str:
        """Objects below a prefix as Triton names a model repository: a folder, or S3."""
        if self.s3_endpoint:
            scheme = "https" if self.s3_secure else "http"
            return f"s3://{scheme}://{self.s3_endpoint}/{self.s3_bucket}/{prefix}"
        folder = workspace / "objects" / prefix
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def storage_keys(self) -> dict[str, str]:
        """The environment variables by which others reach the same S3 server."""
        if not self.s3_endpoint:
            return {}
        return {
            "AWS_ACCESS_KEY_ID": self.s3_access_key.get_secret_value(),
            "AWS_SECRET_ACCESS_KEY": self.s3_secret_key.get_secret_value(),
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def objects(self, workspace: Path, sources: Sources, *, create: bool = True) -> ObjectStore:
        """The object store, which also reads what lies in sources.

        Its bucket is made where it is missing, unless `create` is false.
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
