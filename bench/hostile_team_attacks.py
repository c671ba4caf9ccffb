"""What the hostile clients of `hostile_team.py` do, each function for a thread of its own."""

from __future__ import annotations

import io
import socket
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

AT_ONCE = 45


def forever(work: Callable[[], str], seen: Counter[str]) -> None:
    """Do it again and again, and count how it ended."""
    while True:
        try:
            seen[work()] += 1
        except (OSError, httpx2.HTTPError) as error:
            seen[type(error).__name__] += 1
            time.sleep(0.05)


class Stranger:
    """A client without a key."""

    def __init__(self, url: str) -> None:
        self._url, host = url, httpx2.URL(url)
        self._address = (host.host, host.port)

    def turn(self) -> str:
        """One of each of what strangers do."""
        half: list[socket.socket] = []
        for _ in range(50):
            with suppress(OSError):
                half.append(socket.create_connection(self._address, timeout=5))
                half[-1].sendall(b"POST /controller/v1/runs HTTP/1.1\r\nHost: x\r\nX: ")
        with socket.create_connection(self._address, timeout=30) as large, suppress(OSError):
            large.sendall(
                b"POST /controller/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 40000000\r\n\r\n"
            )
            for _ in range(40):
                large.sendall(b"x" * 1_000_000)
        for number in range(20):
            wrong = {"authorization": f"Bearer nobody.{number}"}
            httpx2.request(f"M{number}X", f"{self._url}/healthz", timeout=60)
            httpx2.get(f"{self._url}/datasets/v1/datasets", headers=wrong, timeout=60)
        for held in half:
            held.close()
        return "strangers' turns"


def team_of(url: str, key: str) -> list[Callable[[], str]]:
    """What the hostile team does, each for a thread of its own."""
    client = httpx2.Client(
        base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=120,
        limits=httpx2.Limits(max_connections=None),
    )  # fmt: skip
    out = io.BytesIO()
    Image.new("RGB", (7000, 7000)).save(out, "JPEG", progressive=True)
    image = f"data:image/jpeg;base64,{b64encode(out.getvalue()).decode()}"
    captions = {"model": "none", "prompts": ["Describe it."], "images": [image] * 16}
    wrong = {"name": "x", "kind": "pairs", **{f"k{n}": n for n in range(40_000)}}
    table = io.BytesIO()
    rows = 1_000_000
    columns: dict[str, Any] = {
        "image": pa.array([None] * rows, pa.binary()),
        "caption": ["x"] * rows,
    }
    pq.write_table(pa.table(columns), table, compression="zstd")
    counter = iter(range(1 << 60))

    def sent(name: str, method: str, path: str, **options: Any) -> str:
        return f"{name} {client.request(method, path, **options).status_code}"

    def version(format: str, data: bytes, *, seal: bool) -> str:
        name = f"d{next(counter)}"
        client.post("/datasets/v1/datasets", json={"name": name, "kind": "pairs"})
        path = f"/datasets/v1/datasets/{name}/versions"
        client.post(path, json={"format": format})
        put = client.put(f"{path}/1/files/t.parquet/pieces/0", content=data)
        sealed = client.post(f"{path}/1/seal") if seal else put
        return f"{'ingests' if seal else 'uploads'} {sealed.status_code}"

    return [
        *[lambda: sent("captions", "POST", "/caption/v1/captions", json=captions)] * AT_ONCE,
        *[lambda: sent("lists", "GET", "/datasets/v1/datasets")] * AT_ONCE,
        *[lambda: sent("wrong bodies", "POST", "/datasets/v1/datasets", json=wrong)] * 2,
        *[lambda: sent("without the scope", "GET", "/training/v1/jobs")] * 4,
        *[lambda: version("parquet", b"x" * (32 << 20), seal=False)] * 2,
        *[lambda: version("parquet", table.getvalue(), seal=True)] * 2,
    ]
