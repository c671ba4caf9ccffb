"""vLLM in Triton against the bare `AsyncLLM`, and two servers against one, on this machine.

    python bench/vllm_service.py [--images 128] [--passes 3]

The same random weights, images and lengths of answers, float32 on a CPU; one thread an engine, so
that two servers have what one has twice. The bare engine gets decoded images; the service encodes,
sends and decodes them. The bare engine runs first and last. Needs `make vllm`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from captioning_workload import PRESET, QUESTION, built, images, lengths, requests, timed
from PIL import Image
from rich.console import Console

from services.caption.engines.engine import Engine
from services.caption.engines.triton import TritonEngines
from services.caption.engines.triton_connection import Connection
from services.caption.engines.triton_pool import Member, TritonPool
from services.caption.tables import Base
from services.caption.triton.repository import EngineOptions
from services.caption.triton.served import ServedModels
from services.chassis.storage.database import Database
from services.chassis.storage.objects_directory import DirectoryObjects
from vila2.engine.requests import Request
from vila2.model.build import VLM
from vila2.triton.install import Installed
from vila2.triton.server import TritonServer, free_ports

PREFIX = "models/bench"
OPTIONS = EngineOptions(backend="vllm", batch_size=32)
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


def bare(vlm: VLM, folder: Path, venv: Path, asked: list[Request], passes: int) -> list[float]:
    """Tokens per second of each pass through `AsyncLLM`."""
    files = []
    for number, request in enumerate(asked):
        files.append(str(folder / f"{number}.png"))
        Image.fromarray(request.pixels).save(files[-1])
    chat, image = vlm.chat(), vlm.image_token_id
    prompt = chat.prompt(QUESTION)
    start = prompt.index(image)
    given = {
        "model": str(folder / PREFIX),
        "options": {"batch_size": OPTIONS.batch_size, "gpus": 0, "instances": 1},
        "images": files,
        "prompt": [*prompt[:start], image, *(t for t in prompt[start:] if t != image)],
        "new_tokens": [request.sampling.max_new_tokens for request in asked],
        "passes": passes,
    }
    (folder / "asked.json").write_text(json.dumps(given))
    script = Path(__file__).with_name("vllm_bare.py")
    command = [venv / "bin" / "python", script, folder / "asked.json", folder / "answered.json"]
    subprocess.run(
        list(map(str, command)), env={**os.environ, **ENVIRONMENT}, check=True, capture_output=True
    )
    return [float(speed) for speed in json.loads((folder / "answered.json").read_text())]


def served(
    folder: Path, venv: Path, asked: list[Request], passes: int, *, servers: int
) -> list[float]:
    """Tokens per second of each pass through the engine port, in chunks as a layer sends them."""
    objects = DirectoryObjects(folder / "objects")
    database = Database.sqlite(folder / f"served{servers}.sqlite", Base.metadata)
    started = [server(folder, venv, number) for number in range(servers)]
    try:
        pool = TritonPool([member(one, objects, database) for one in started])
        engine = pool.get(PREFIX)
        for each in pool.members:
            each.engines.get(PREFIX)
        size = -(-len(asked) // servers)
        chunks = [asked[start : start + size] for start in range(0, len(asked), size)]
        speeds = [speed(engine, chunks) for _ in range(passes + 1)][1:]
        pool.close()
        return speeds
    finally:
        for one in started:
            one.stop()
        database.close()


def speed(engine: Engine, chunks: list[list[Request]]) -> float:
    """Tokens per second of one pass, all chunks at once."""
    tokens: list[int] = []

    def one(chunk: list[Request]) -> None:
        tokens.extend(answer.tokens for answer in engine.generate(chunk, progress=lambda _: None))

    def all_of_them() -> None:
        with ThreadPoolExecutor(len(chunks)) as lanes:
            list(lanes.map(one, chunks))

    seconds = timed(all_of_them)
    return sum(tokens) / seconds


def server(folder: Path, venv: Path, number: int) -> TritonServer:
    """A server over the folder's repository, started."""
    repository = folder / "objects" / "serving"
    repository.mkdir(parents=True, exist_ok=True)
    grpc, http, metrics = free_ports(3)
    log, installed = folder / f"triton{number}.log", Installed(Installed.default().folder, venv)
    made = TritonServer(
        str(repository), log, grpc, http, metrics, env=ENVIRONMENT, installed=installed
    )
    made.start()
    return made


def member(one: TritonServer, objects: DirectoryObjects, database: Database) -> Member:
    """A server with its ledger and engines."""
    connection = Connection(one.url)
    ledger = ServedModels(database, objects, connection, options=OPTIONS, budget=2**33)
    return Member(one.url, TritonEngines(connection, objects, ledger))


def main() -> None:
    """Print the figures and write them beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--venv", type=Path, default=Path(".venv-vllm"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    venv, side = given.venv.absolute(), PRESET.image_size
    with TemporaryDirectory() as name:
        folder, vlm = Path(name), built()
        vlm.save(folder / PREFIX)
        DirectoryObjects(folder / "objects").put_directory(PREFIX, folder / PREFIX)
        asked = requests(images(given.images), lengths(given.images), side=side)
        first = bare(vlm, folder, venv, asked, given.passes)
        one = served(folder, venv, asked, given.passes, servers=1)
        two = served(folder, venv, asked, given.passes, servers=2)
        last = bare(vlm, folder, venv, asked, given.passes)
    speeds = {"bare": [*first, *last], "one server": one, "two servers": two}
    medians = {way: statistics.median(found) for way, found in speeds.items()}
    figures = {
        "images": given.images, "tokens_per_second": speeds, "medians": medians,
        "service_over_bare": medians["one server"] / medians["bare"],
        "two_servers_over_one": medians["two servers"] / medians["one server"],
        "cores": os.cpu_count(),
    }  # fmt: skip
    Console().print(figures)
    given.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
