"""`vila2 caption` by a server process of its own, killed -9 in the middle: every sample once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.support.caption_platform import register_model
from tests.support.embedded_platform import images
from tests.support.waiting import until
from vila2.cli.connection.workspace import server_of

COUNT, SHARD = 400, 150


def vila2(folder: Path, *words: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vila2.cli.main", *words], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **env},
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


@contextmanager
def endpoint(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Another platform's OpenAI-compatible API in a process: its address, a key, a model."""
    workspace = folder / "server"
    with EmbeddedPlatform(workspace) as platform:
        model = register_model(platform, folder / "model", number=1)
        key = platform.key
    process = vila2(folder, "up", "--port", "0", "-w", str(workspace))
    try:
        until(lambda: bool(server_of(workspace)) or process.poll() is not None, seconds=120)
        address = json.loads((workspace / "server.json").read_text())["url"]
        yield f"{address}/caption/v1", key, model
    finally:
        process.kill()
        process.wait()


def rows(folder: Path) -> list[dict[str, str]]:
    """All rows of the committed layer."""
    layers = folder / ".vila2" / "objects" / "layers"
    return [row for path in layers.glob("*/*.parquet") for row in pq.read_table(path).to_pylist()]


@pytest.mark.server
def test_a_command_that_was_killed_goes_on_and_captions_every_sample_once(tmp_path: Path) -> None:
    for text in images(tmp_path / "photos", count=COUNT).glob("*.txt"):
        text.unlink()
    with endpoint(tmp_path) as (url, key, model):
        ended(vila2(tmp_path, "datasets", "submit", "photos", "--name", "photos",
                    "--shard-samples", str(SHARD)))  # fmt: skip
        ended(vila2(tmp_path, "models", "add", "--endpoint", url, "--model", model, "--name",
                    "there", "--key-env", "THERE", "--concurrency", "4", THERE=key))  # fmt: skip
        command = ("caption", "photos", "--model", "there", "--max-new-tokens", "4",
                   "--attempts", "1")  # fmt: skip
        first = vila2(tmp_path, *command, THERE=key)
        until(lambda: len(rows(tmp_path)) >= SHARD, seconds=120)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert len(rows(tmp_path)) < COUNT
        said = ended(vila2(tmp_path, *command, THERE=key))
    assert "captioned" in said
    keys = Counter(row["key"] for row in rows(tmp_path))
    assert len(keys) == COUNT
    assert set(keys.values()) == {1}


def test_ctrl_c_says_what_is_kept_and_what_resumes(tmp_path: Path) -> None:
    for text in images(tmp_path / "photos", count=COUNT).glob("*.txt"):
        text.unlink()
    with EmbeddedPlatform(tmp_path / ".vila2") as platform:
        model = register_model(platform, tmp_path / "model", number=1)
    ended(vila2(tmp_path, "datasets", "submit", "photos", "--name", "photos",
                "--shard-samples", "40"))  # fmt: skip
    command = ("caption", "photos", "--model", model, "--max-new-tokens", "64", "--attempts", "20")
    first = vila2(tmp_path, *command)
    until(lambda: bool(rows(tmp_path)), seconds=120)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[0]
    assert first.returncode == 130, said
    assert f"of {COUNT} images are done and kept. The same command resumes" in said
    assert "Traceback" not in said
