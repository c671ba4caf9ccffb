"""Identity over processes: what one changes holds in the other within the documented seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import httpx2
import pytest

from tests.support.servers.ports import free_port
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.process import running
from tests.support.servers.valkey import valkey
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.schemas.rest.identity import KeyIn, LimitsIn

pytestmark = pytest.mark.slow  # two services, each a process of its own
SERVICES = ("controller", "datasets")


@dataclass
class Platform:
    """Two services, each a process of its own, and clients of them."""

    url: str
    admin: Client

    def client(self, key: str) -> Client:
        return Client.connect(self.url, key=key)


@pytest.fixture(scope="module")
def two_processes(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """On PostgreSQL and a broker, with the pepper in the environment and no keys in common."""
    folder = tmp_path_factory.mktemp("two_processes")
    with ExitStack() as held:
        broker = held.enter_context(valkey(folder / "valkey"))
        ports = {name: free_port() for name in SERVICES}
        others = ("caption", "specialist", "training")
        url = ",".join(
            [f"{name}=http://127.0.0.1:{port}" for name, port in ports.items()]
            + [f"{name}=http://127.0.0.1:9" for name in others]
        )
        env = {
            "VILA2_DATABASE_URL": postgres_server.new_database(),
            "VILA2_BROKER_URL": broker.url,
            "VILA2_KEY_PEPPER": "ab" * 32,
            "VILA2_PLATFORM_URL": url,
        }
        serve = [sys.executable, "-m", "services.platform.serve", "--workspace"]
        subprocess.run(
            [*serve, str(folder / "one"), "--prepare"], env={**os.environ, **env}, check=True
        )
        for number, name in enumerate(SERVICES):
            # The second has a folder of its own, and so none of the first one's files.
            workspace = folder / ("one", "two")[number]
            port = ports[name]
            command = [*serve, str(workspace), "--target", name, "--port", str(port)]
            log = folder / f"{name}.log"
            ready = partial(answers, port)
            held.enter_context(running(command, log=log, env=env, ready=ready, seconds=90))
        key = (folder / "one" / "key").read_text().strip()
        admin = Client.connect(url, key=key)
        held.callback(admin.close)
        admin.identity.create_team("red")
        yield Platform(url, admin)


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx2.HTTPError:
        return False


def refused(client: Client) -> bool:
    try:
        client.datasets.all()
    except ApiError as error:
        return error.problem.status == 401
    return False


def test_a_key_made_at_the_controller_is_good_at_the_store_and_ends_there(
    two_processes: Platform,
) -> None:
    """Within the five seconds that a key is remembered for."""
    made = two_processes.admin.identity.create_key("red", KeyIn(role="member"))
    red = two_processes.client(made.key)
    assert red.datasets.all() == []
    two_processes.admin.identity.revoke_key("red", made.prefix)
    until(lambda: refused(red), seconds=8)
    red.close()


def test_a_teams_requests_are_counted_over_all_processes(
    two_processes: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at one service leave none at the other."""
    monkeypatch.setattr("vila2.client.http.PATIENCE", 0.0)
    red = two_processes.client(
        two_processes.admin.identity.create_key("red", KeyIn(role="viewer")).key
    )
    two_processes.admin.identity.set_limits("red", LimitsIn(requests_per_minute=2))
    assert red.identity.whoami().team == "red"
    assert red.identity.whoami().team == "red"

    def limited() -> bool:  # the store learns of the limit within seconds
        try:
            red.datasets.all()
        except ApiError as error:
            return error.problem.status == 429
        return False

    until(limited, seconds=8)
    red.close()


def test_what_the_store_refused_is_in_the_one_log(two_processes: Platform) -> None:
    # The other team is at its limit of requests.
    two_processes.admin.identity.create_team("blue")
    weak = two_processes.admin.identity.create_key("blue", KeyIn(scopes=["runs:read"]))
    other = two_processes.client(weak.key)
    with pytest.raises(ApiError):
        other.datasets.all()
    found = list(two_processes.admin.identity.audit(limit=5, key=weak.prefix))
    assert [(entry.service, entry.status) for entry in found] == [("datasets", 403)]
    other.close()
