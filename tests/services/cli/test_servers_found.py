"""Commands find the server of their workspace, pass over a dead one, and ask loopback directly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from services.platform.embedded import EmbeddedPlatform
from tests.support.servers.platform_http import served
from tests.support.waiting import until
from vila2.cli.connection.workspace import CliError, announced, server_of
from vila2.cli.connection.workspace import served as address_of
from vila2.cli.main import app
from vila2.client import Client, Unreachable
from vila2.client.http import is_loopback
from vila2.doctor.platform import findings
from vila2.system.processes import handle_of

RUN = CliRunner()
URL = "http://127.0.0.1:8620"


def test_a_server_that_runs_is_found_and_forgotten_when_it_ends(tmp_path: Path) -> None:
    with announced(tmp_path, URL, os.getpid()):
        assert server_of(tmp_path) == URL
    assert server_of(tmp_path) == ""


def test_a_process_that_was_given_a_dead_servers_number_is_not_it(tmp_path: Path) -> None:
    """It started later; and no process at all is not it either."""
    with announced(tmp_path, URL, os.getpid()):
        file = tmp_path / "server.json"
        held = json.loads(file.read_text())
        file.write_text(json.dumps({**held, "process": f"{os.getpid()}:1"}))
        assert server_of(tmp_path) == ""
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        file.write_text(json.dumps({**held, "process": handle_of(ended.pid)}))
        assert server_of(tmp_path) == ""


def test_a_server_on_another_host_is_taken_as_it_says(tmp_path: Path) -> None:
    """Its processes cannot be seen from here; the workspace may be on a shared disk."""
    held = {"url": "http://login-1:8620", "host": "login-1", "process": "1:1"}
    (tmp_path / "server.json").write_text(json.dumps(held))
    assert server_of(tmp_path) == "http://login-1:8620"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "http://x"}', "\xff"])
def test_a_file_that_was_cut_is_no_server(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text, encoding="latin-1")
    assert server_of(tmp_path) == ""


def test_commands_work_after_the_server_was_killed(tmp_path: Path) -> None:
    """In this process; one that needs a server says how to start it."""
    workspace = tmp_path / "w"
    with server(workspace) as process:
        assert json.loads((workspace / "server.json").read_text())["host"] == socket.gethostname()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (workspace / "server.json").exists()
    told = RUN.invoke(app, ["datasets", "list", "-w", str(workspace)])
    assert told.exit_code == 0, told.exception
    assert "was killed: its entry server.json is removed" in told.stderr
    assert not (workspace / "server.json").exists()
    with pytest.raises(CliError, match="no platform runs on"):
        address_of(workspace)


def test_ctrl_c_ends_the_server_with_a_word(tmp_path: Path) -> None:
    with server(tmp_path / "w") as process:
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert time.monotonic() - began < 10, "an idle server stops in a second or two on idle cores"
    assert "stopping" in said
    assert "Traceback" not in said


@contextmanager
def server(workspace: Path) -> Iterator[subprocess.Popen[str]]:
    """`vila2 up` on a free port, once it answers."""
    command = [sys.executable, "-m", "vila2.cli.main", "up", "--port", "0", "-w", str(workspace)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        until(lambda: answers(workspace) or process.poll() is not None, seconds=120)
        assert process.poll() is None, process.communicate()
        try:
            yield process
        finally:
            process.kill()


def answers(workspace: Path) -> bool:
    url = server_of(workspace)
    with suppress(httpx2.TransportError):
        return bool(url) and httpx2.get(f"{url}/controller/healthz").is_success
    return False


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A proxy that the shell names, and that answers nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        listening.settimeout(0.1)
        yield listening


def test_loopback_is_asked_directly_whatever_proxy_the_shell_names(
    tmp_path: Path, proxy: socket.socket
) -> None:
    """Its request, with the key in it, goes nowhere else."""
    with EmbeddedPlatform(tmp_path / "w") as platform, served(platform) as url:
        for address in (url, url.replace("127.0.0.1", "localhost")):
            client = Client.connect(address, key=platform.key)
            assert client.identity.whoami().team == "local"
            client.close()
        assert {finding.state for finding in findings(url, platform.key)} == {"ok"}
    with pytest.raises(TimeoutError):
        proxy.accept()


@pytest.mark.parametrize(("url", "loopback"), [
    ("http://127.0.0.1:8620/", True), ("https://localhost", True), ("http://[::1]:80/x", True),
    ("http://0.0.0.0:8620", True), ("http://vila2.localhost/", True), ("http://127.9.9.9", True),
    ("http://10.0.0.1:8620", False), ("https://localhost.example.org", False),
    ("http://[2001:db8::1]/", False),
])  # fmt: skip
def test_what_is_loopback(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


def test_an_answer_of_another_program_is_said_to_be_one(tmp_path: Path) -> None:
    """Not a traceback of what could not be read."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        client = Client.connect(f"http://127.0.0.1:{other.server_port}", key="a.b")
        with pytest.raises(Unreachable, match="check the address"):
            client.identity.whoami()
        with pytest.raises(Unreachable, match="check the address"):
            client.controller.runs()
        other.shutdown()
