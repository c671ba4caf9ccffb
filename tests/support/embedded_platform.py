"""What the service tests do with a platform that runs in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx2

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.samples import image
from vila2.client import Client
from vila2.client.submit import submit
from vila2.schemas.rest.datasets import Version


def images(folder: Path, *, count: int = 4, first: int = 0, caption: str = "fox {n}") -> Path:
    """A folder of made images with captions; the same number gives the same image."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for n in range(first, first + count):
        (folder / f"p{n}.png").write_bytes(image(n))
        (folder / f"p{n}.txt").write_text(caption.format(n=n))
    return folder


def submitted(
    client: Client, folder: Path, *, name: str, shard_samples: int = 2000, format: str = "folder"
) -> Version:
    """Submit a folder and wait until it is ingested."""
    return submit(
        client, folder, name=name, format=format, shard_samples=shard_samples, poll_seconds=0.02
    )


def client_with(platform: EmbeddedPlatform, key: str) -> Client:
    """A client that holds this key."""
    return Client(
        lambda service: httpx2.Client(
            base_url=f"http://{service}/",
            headers={"authorization": f"Bearer {key}"},
            transport=platform.transport(service),
        )
    )
