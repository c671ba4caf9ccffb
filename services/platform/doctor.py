"""Server-side checks: databases, objects, broker, Triton, the job backend and the services."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import Engine, create_engine, make_url, text

from services.caption.jobs.worker_command import PlatformSettings
from services.caption.settings import CaptionSettings
from services.chassis.storage.migrations import Migrations
from services.chassis.storage.settings import StorageSettings
from services.chassis.storage.sources import sources_of
from services.platform.databases import all_migrations
from services.platform.doctor_triton import inference
from services.training.settings import TrainingSettings
from vila2.doctor import judging, platform
from vila2.doctor.finding import Finding, attempted, ok, problem, warning

PREPARE = "run `vila2-service --prepare`"


def findings(workspace: Path) -> list[Finding]:
    """Check everything that the settings in the environment refer to; leaves nothing behind."""
    try:
        storage, caption, training = StorageSettings(), CaptionSettings(), TrainingSettings()
    except ValidationError as error:
        return [
            problem(f"setting VILA2_{'_'.join(map(str, wrong['loc'])).upper()}", wrong["msg"],
                    fix="correct it in the environment of every service")
            for wrong in error.errors()
        ]  # fmt: skip
    return [
        *_databases(storage, workspace),
        *_objects(storage, workspace),
        *_broker(caption),
        *inference(caption, storage, workspace),
        attempted(
            f"backend {training.training_backend}",
            lambda: training.backend(workspace).check(),
            fix="see the settings in docs/training.md and deploy/",
        ),
        *_services(workspace),
    ]


def _databases(storage: StorageSettings, workspace: Path) -> Iterator[Finding]:
    url = storage.database_url.get_secret_value()
    if not url:
        for migrations in all_migrations():
            path = workspace / "db" / f"{migrations.service}.sqlite"
            if path.exists():
                with _engine(f"sqlite:///{path}") as engine:
                    yield _database(migrations, engine)
        return
    try:
        where = make_url(url).render_as_string()
        with _engine(url) as engine, engine.connect() as connection:
            began = time.time()
            told = connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
            ended = time.time()
    except Exception as error:
        yield problem("database", str(error).splitlines()[0][:300],
                      fix="start PostgreSQL, or correct VILA2_DATABASE_URL")  # fmt: skip
        return
    yield ok("database", f"{where} answers")
    yield judging.clock("database", float(told or 0) - (began + ended) / 2, (ended - began) / 2)
    for migrations in all_migrations():
        with _engine(url) as engine:
            yield _database(migrations, engine)


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    postgres = make_url(url).get_backend_name() == "postgresql"
    engine = create_engine(url, connect_args={"connect_timeout": 5} if postgres else {})
    try:
        yield engine
    finally:
        engine.dispose()


def _database(migrations: Migrations, engine: Engine) -> Finding:
    """Compare a database's migration step with the newest that this version knows."""
    check, newest = f"database of {migrations.service}", migrations.revisions[-1]
    try:
        at = migrations.revision(engine)
    except Exception as error:
        return problem(check, str(error).splitlines()[0][:300],
                       fix="restore it from a backup, or see the server's log")  # fmt: skip
    if at == newest:
        return ok(check, f"at step {at}")
    if at in migrations.revisions or not at:
        return problem(check, f"at step {at or 'none'}; {newest} is the newest",
                       fix=f"{PREPARE} (a service does the same when it starts)")  # fmt: skip
    return problem(check, f"at step {at}, which this version does not know",
                   fix="upgrade the software, or restore an earlier backup")  # fmt: skip


def _objects(storage: StorageSettings, workspace: Path) -> Iterator[Finding]:
    """Test write, read, conditional write and delete."""
    if not storage.s3_endpoint and not workspace.exists():
        return  # a new workspace
    where = f"s3://{storage.s3_endpoint}/{storage.s3_bucket}" if storage.s3_endpoint else "folder"

    def look() -> str:
        key = f"doctor/{uuid.uuid4().hex}"
        store = storage.objects(workspace, sources_of(workspace), create=False)
        store.put(key, b"here")
        try:
            if store.get(key) != b"here":
                raise RuntimeError("an object was read back with different content")
            if store.put_if_absent(key, b"there"):
                raise RuntimeError(
                    "the server ignores `If-None-Match: *`: concurrent uploads could conflict"
                )
        finally:
            store.delete(key)
        return f"{where}: objects can be written, read and deleted"

    yield attempted(
        "objects", look,
        fix=f"check VILA2_S3_ENDPOINT, keys and server; if the bucket is missing, {PREPARE}",
    )  # fmt: skip


def _broker(caption: CaptionSettings) -> Iterator[Finding]:
    url = caption.broker_url.get_secret_value()
    if not url:
        return
    import redis

    client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    try:
        client.ping()
        policy = str(client.config_get("maxmemory-policy").get("maxmemory-policy", ""))
    except redis.ResponseError:
        policy = ""  # hosted brokers may not expose their configuration
    except redis.RedisError as error:
        yield problem("broker", str(error), fix="start it, or correct VILA2_BROKER_URL")
        return
    finally:
        client.close()
    if policy not in ("", "noeviction"):
        yield warning("broker", f"evicts entries when memory is full ({policy})",
                      fix="set maxmemory-policy to noeviction")  # fmt: skip
    else:
        yield ok("broker", "answers")


def _services(workspace: Path) -> list[Finding]:
    """Check the other services if this process knows the platform's address."""
    settings = PlatformSettings()
    if not settings.platform_url:
        return []
    held = workspace / "service-key"
    key = settings.service_key.get_secret_value()
    if not key and held.exists():
        key = held.read_text().strip()
    return platform.findings(settings.platform_url, key)
