"""Submissions that are cut: nothing is lost, nothing is doubled, nothing is sent twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest

import vila2.client.submit as submitting
from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.samples import image
from tests.support.embedded_platform import images, submitted
from tests.support.servers.platform_http import served
from tests.support.waiting import until
from vila2.client import Client, Unreachable
from vila2.data.shards import read_shard


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "PART_SAMPLES", 2)


class Cut(httpx2.BaseTransport):
    """Passes requests on until so many parts went through, then the connection is dead."""

    def __init__(self, inner: httpx2.BaseTransport, *, after: int) -> None:
        self._inner, self._left = inner, after
        self.sent: Counter[str] = Counter()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "PUT":
            if not self._left:
                raise httpx2.ConnectError("the line is dead")
            self._left -= 1
            self.sent[request.url.path] += 1
        return self._inner.handle_request(request)


def client_over(platform: EmbeddedPlatform, cut: Cut) -> Client:
    return Client(
        lambda service: httpx2.Client(
            base_url=f"http://{service}/",
            headers={"authorization": f"Bearer {platform.key}"},
            transport=cut if service == "datasets" else platform.transport(service),
        )
    )


def keys(client: Client, name: str) -> list[str]:
    return [
        sample.key
        for shard in client.datasets.shards(name)
        for sample in read_shard(client.datasets.shard_content(name, 0, shard.index))
    ]


def test_a_client_that_is_cut_sends_only_the_rest(
    platform: EmbeddedPlatform, tmp_path: Path, small_parts: None
) -> None:
    """Each part crosses the wire once over both attempts."""
    folder = images(tmp_path / "foxes", count=10)
    transport = platform.transport("datasets")
    first, second = Cut(transport, after=3), Cut(transport, after=99)
    with pytest.raises(Unreachable):
        submitted(client_over(platform, first), folder, name="foxes")
    version = submitted(client_over(platform, second), folder, name="foxes")
    assert (version.version, version.samples) == (1, 10)
    assert sorted((first.sent + second.sent).values()) == [1] * 5


def test_a_file_that_is_cut_goes_on_with_its_next_piece(
    platform: EmbeddedPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files are sent in pieces, each of them once."""
    monkeypatch.setattr(submitting, "PART_BYTES", 300)
    folder = images(tmp_path / "foxes", count=2)
    transport = platform.transport("datasets")
    first, second = Cut(transport, after=2), Cut(transport, after=99)
    how = {"name": "foxes", "format": "folder", "by_store": True, "poll_seconds": 0.02}
    with pytest.raises(Unreachable):
        submitting.submit(client_over(platform, first), folder, **how)
    version = submitting.submit(client_over(platform, second), folder, **how)
    assert version.samples == 2
    assert set((first.sent + second.sent).values()) == {1}


def test_parts_are_made_one_at_a_time(
    platform: EmbeddedPlatform, tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is on its way before the next is read: memory does not grow with the dataset."""
    order: list[str] = []
    real = submitting._parts

    def watched(raws):
        for part in real(raws):
            order.append("read")
            yield part

    monkeypatch.setattr(submitting, "_parts", watched)

    class Noting(Cut):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.method == "PUT":
                order.append("sent")
            return super().handle_request(request)

    noting = Noting(platform.transport("datasets"), after=99)
    submitted(client_over(platform, noting), images(tmp_path / "f", count=6), name="f")
    assert order == ["read", "sent"] * 3


@pytest.mark.slow
def test_two_clients_fill_the_store_while_one_is_killed(tmp_path: Path) -> None:
    """Over HTTP, as processes; the killed one is started again. Nothing is lost or doubled."""
    workspace = tmp_path / "workspace"
    folders = {
        name: images(tmp_path / name, count=60, first=first)
        for name, first in (("left", 0), ("right", 100))
    }
    with EmbeddedPlatform(workspace) as platform, served(platform) as url:
        program = (
            "import sys, time, pathlib, vila2.client.submit as s\n"
            "from vila2.client import Client\n"
            "s.PART_SAMPLES = 2\n"
            "real = s.write_raw_shard\n"
            "def slow(*a):\n    time.sleep(0.03); return real(*a)\n"
            "s.write_raw_shard = slow\n"
            "url, key, name, folder = sys.argv[1:]\n"
            "v = s.submit(Client.connect(url, key=key), pathlib.Path(folder), name=name,"
            " format='folder', shard_samples=16, poll_seconds=0.05)\n"
            "print(v.state, v.samples, v.version)\n"
        )

        def started(name: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", program, url, platform.key,
                       name, str(folders[name])]  # fmt: skip
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        left, right = started("left"), started("right")
        until(lambda: _parts(platform, "left") >= 5)
        left.send_signal(signal.SIGKILL)
        left.wait()
        time.sleep(0.1)
        assert 5 <= _parts(platform, "left") < 30
        again = started("left")
        for child in (right, again):
            out, _ = child.communicate(timeout=60)
            assert out.split() == ["ready", "60", "1"]
        for name, first in (("left", 0), ("right", 100)):
            held = keys(platform.client, name)
            assert sorted(held) == sorted(f"p{n}" for n in range(first, first + 60))
        shard = platform.client.datasets.shard_content("left", 1, 0)
        assert image(0) in shard


def _parts(platform: EmbeddedPlatform, name: str) -> int:
    found = {dataset.name for dataset in platform.client.datasets.all()}
    if name not in found:
        return 0
    try:
        return len(platform.client.datasets.uploads(name, 1))
    except Exception:
        return 0
