"""Engines for models that exist, compared with what a user would write instead.

    python bench/engines.py                        # prints the table, writes bench/engines.json
    python bench/engines.py --endpoint http://gpu7:8000/v1 --model NAME    # a server of your own

The endpoint adapter and a loop over asyncio ask the same server, in turns. Without `--endpoint` it
answers after a fixed time, so that all of the rest is the client's: after 1 s, as a large model
does, and after 0.2 s, when client and server take all of two cores. transformers' engine and a loop
over `transformers.pipeline` caption the same images by the same Qwen2.5-VL of random weights. Every
ratio is that of medians over `--repeats` passes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from captioning_workload import QUESTION, images
from PIL import Image
from rich.console import Console
from rich.table import Table

from services.caption.engines.endpoint.allowed import AllowedEndpoints
from services.caption.engines.endpoint.engines import EndpointEngines
from services.caption.settings import CaptionSettings
from services.chassis.storage.objects_directory import DirectoryObjects
from services.platform.embedded import EmbeddedPlatform
from tests.support.tiny_families import build
from vila2.client.add_model import add_endpoint
from vila2.client.submit import submit
from vila2.engine.requests import Request
from vila2.schemas.endpoint_model import EndpointModel
from vila2.schemas.rest.caption import CaptionJobIn
from vila2.schemas.sampling import Gate, Sampling

CONCURRENCY = 64
TOKENS = 32
MEMORY_SIZES = (1_000, 50_000)
Rates = dict[str, list[float]]


@contextmanager
def fixed_endpoint(seconds: float) -> Iterator[str]:
    """The address of a server process that answers after a fixed time."""
    server = Path(__file__).with_name("engines_server.py")
    command = [sys.executable, str(server), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.terminate()


async def by_hand(spec: EndpointModel, jpegs: Sequence[bytes]) -> int:
    """What a user would write: a semaphore, a client, gather. Returns how many were answered."""
    slots = asyncio.Semaphore(CONCURRENCY)
    limits = httpx2.Limits(max_connections=CONCURRENCY)
    async with httpx2.AsyncClient(timeout=300, limits=limits) as client:

        async def one(jpeg: bytes) -> str:
            url = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
            content = [
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": QUESTION},
            ]
            body = {
                "model": spec.model, "messages": [{"role": "user", "content": content}],
                "max_tokens": TOKENS, "temperature": 0,
            }  # fmt: skip
            async with slots:
                reply = await client.post(f"{spec.url}/chat/completions", json=body)
            return str(reply.json()["choices"][0]["message"]["content"])

        return len(await asyncio.gather(*map(one, jpegs)))


def endpoint_rates(spec: EndpointModel, count: int, repeats: int) -> Rates:
    """Images per second: by hand, by the adapter, and by the whole service."""
    jpegs = images(count)
    rates: Rates = {"asyncio loop": [], "adapter": [], "service": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engines = EndpointEngines(DirectoryObjects(folder / "o"), AllowedEndpoints("*"))
        engine = engines.connect(spec)
        asked = [Request(jpeg, QUESTION, 0, Sampling(max_new_tokens=TOKENS)) for jpeg in jpegs]
        with EmbeddedPlatform(folder / "w", captioning=CaptionSettings(endpoints="*")) as platform:
            submitted(platform, folder / "images", jpegs, shard=count)
            add_endpoint(platform.client, spec, name="model")
            engine.generate(asked, progress=lambda _: None)  # the window has grown
            for number in range(repeats):
                rates["asyncio loop"].append(
                    count / timed(lambda: asyncio.run(by_hand(spec, jpegs)))
                )
                rates["adapter"].append(
                    count / timed(lambda: engine.generate(asked, progress=lambda _: None))
                )
                rates["service"].append(count / timed(partial(layer, platform, f"l{number}")))
        engine.close()
        engines.close()
    return rates


def submitted(
    platform: EmbeddedPlatform, folder: Path, jpegs: Sequence[bytes], *, shard: int
) -> None:
    """Submit images, each different by its comment."""
    folder.mkdir()
    for n, jpeg in enumerate(jpegs):
        comment = b"%012d" % n
        marked = jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
        (folder / f"p{n:06d}.jpg").write_bytes(marked)
    submit(platform.client, folder, name="images", format="folder", shard_samples=shard)


def layer(platform: EmbeddedPlatform, name: str) -> None:
    """One complete layer."""
    caption = platform.client.caption
    job = caption.start_job(
        CaptionJobIn(
            name=name, dataset="images", model="model", prompts=[QUESTION],
            sampling=Sampling(max_new_tokens=TOKENS), gate=Gate(attempts=1, language="any"),
        )
    )  # fmt: skip
    while (held := caption.job(job.id)).state == "running":
        time.sleep(0.05)
    if held.state != "sealed":
        raise RuntimeError(f"the layer is {held.state}: {held.error or held.progress.phase}")


def transformers_rates(count: int, repeats: int) -> Rates:
    """Images per second of transformers' engine and of a loop over its pipeline."""
    from transformers import pipeline

    from vila2.engine.transformers_captioner import TransformersCaptioner

    rates: Rates = {"pipeline loop": [], "engine": []}
    shapes = [(224, 224), (280, 210), (210, 280)]
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, (*shapes[n % 3], 3), dtype=np.uint8) for n in range(count)]
    with tempfile.TemporaryDirectory() as name:
        folder = larger_qwen(Path(name) / "model")
        captioner = TransformersCaptioner(folder)
        asked = [Request(image, QUESTION, 0, Sampling(max_new_tokens=TOKENS)) for image in pixels]
        captioner.generate(asked[:16])
        ask: Any = pipeline(
            "image-text-to-text",
            model=captioner.model,
            processor=captioner.processor.inner,
        )

        def loop() -> None:
            for image in pixels:
                content = [
                    {"type": "image", "image": Image.fromarray(image)},
                    {"type": "text", "text": QUESTION},
                ]
                kwargs = {"max_new_tokens": TOKENS, "do_sample": False}
                ask(text=[{"role": "user", "content": content}], generate_kwargs=kwargs,
                    return_full_text=False)  # fmt: skip

        for _ in range(repeats):
            rates["pipeline loop"].append(count / timed(loop))
            rates["engine"].append(count / timed(lambda: captioner.generate(asked)))
    return rates


def larger_qwen(folder: Path) -> Path:
    """A Qwen2.5-VL of random weights whose layers take most of the time: 40 million parameters."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    build("Qwen2.5-VL", folder)
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    compose: Any = AutoModelForImageTextToText
    text, vision = config.text_config, config.vision_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = 512, 1536, 8
    text.num_attention_heads, text.num_key_value_heads = 8, 4
    text.layer_types = ["full_attention"] * text.num_hidden_layers
    text.rope_parameters = {**text.rope_parameters, "mrope_section": [8, 12, 12]}
    vision.hidden_size, vision.intermediate_size, vision.depth = 256, 768, 4
    vision.num_heads, vision.out_hidden_size = 4, 512
    torch.manual_seed(0)
    compose.from_config(config, trust_remote_code=False).save_pretrained(folder)
    return folder


def first_caption(folder: Path) -> float:
    """Seconds from the command to the caption of one image, in a process of its own."""
    vila2 = [sys.executable, "-m", "vila2.cli.main"]

    def run(*words: str) -> None:
        subprocess.run([*vila2, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    build("Qwen2.5-VL", folder / "model")
    (folder / "photos").mkdir()
    for n, jpeg in enumerate(images(4)):
        (folder / "photos" / f"{n}.jpg").write_bytes(jpeg)
    run("datasets", "submit", "photos", "--name", "photos")
    run("models", "add", "model", "--name", "m")
    return timed(lambda: run("captions", "preview", "photos", "--model", "m", "--count", "1"))


def peak_of(count: int) -> float:
    """Peak memory in MiB of a process that captions `count` images by an endpoint."""
    done = subprocess.run(
        [sys.executable, __file__, "--peak", str(count)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.splitlines()[-1])


def measure_peak(count: int) -> None:
    """Run by `peak_of`: another process submits, so that only captioning is counted."""
    with tempfile.TemporaryDirectory() as name, fixed_endpoint(0.02) as url:
        folder = Path(name)
        subprocess.run([sys.executable, __file__, "--fill", name, str(count)], check=True)
        settings = CaptionSettings(endpoints="*")
        with EmbeddedPlatform(folder / "w", captioning=settings) as platform:
            add_endpoint(platform.client, EndpointModel(url=url, model="fixed"), name="model")
            layer(platform, "layer")
    lines = Path("/proc/self/status").read_text().splitlines()
    print(float(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024)


def fill(folder: Path, count: int) -> None:
    """A workspace with `count` small images."""
    made = []
    for n in range(16):
        out = io.BytesIO()
        Image.fromarray(
            np.random.default_rng(n).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        ).save(out, "JPEG")
        made.append(out.getvalue())
    with EmbeddedPlatform(folder / "w") as platform:
        submitted(platform, folder / "images", [made[n % 16] for n in range(count)], shard=2000)


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(rates: Rates, one: str, other: str) -> float:
    """Ratio of two medians."""
    return statistics.median(rates[one]) / statistics.median(rates[other])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--endpoint", default="", help="address of a server of your own")
    parser.add_argument("--model", default="fixed", help="the model's name there")
    parser.add_argument("--count", type=int, default=1024, help="images by the endpoint")
    parser.add_argument("--images", type=int, default=64, help="images by transformers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="also peak memory, some minutes")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--fill", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        measure_peak(given.peak)
        return
    if given.fill:
        fill(Path(given.fill[0]), int(given.fill[1]))
        return
    by_endpoint: dict[str, Rates] = {}
    for answer in ("1 s",) if given.endpoint else ("1 s", "0.2 s"):
        with fixed_endpoint(float(answer.split()[0])) as fixed:
            spec = EndpointModel(
                url=given.endpoint or fixed, model=given.model, concurrency=CONCURRENCY,
                logprobs=False,
            )  # fmt: skip
            name = "own server" if given.endpoint else f"answers after {answer}"
            by_endpoint[name] = endpoint_rates(spec, given.count, given.repeats)
    by_transformers = transformers_rates(given.images, given.repeats)
    with tempfile.TemporaryDirectory() as name:
        seconds = first_caption(Path(name))
    figures: dict[str, Any] = {}
    for name, rates in by_endpoint.items():
        figures[f"endpoint adapter / asyncio loop, {name} (>= 0.95)"] = ratio(
            rates, "adapter", "asyncio loop"
        )
        figures[f"service / endpoint adapter, {name} (>= 0.95)"] = ratio(
            rates, "service", "adapter"
        )
    figures |= {
        "transformers' engine / pipeline loop (>= 2)": ratio(
            by_transformers, "engine", "pipeline loop"
        ),
        "seconds from command to first caption (<= 15)": seconds,
    }
    if given.memory:
        small, large = map(peak_of, MEMORY_SIZES)
        figures["peak memory, 50,000 images / 1,000 (1)"] = large / small
        figures["peak MiB at 50,000"] = large
    table = Table("what", "figure", title="Engines")
    for what, figure in figures.items():
        table.add_row(what, f"{figure:,.2f}")
    Console().print(table)
    told = {
        "count": given.count,
        "images": given.images,
        "images_per_second": {**by_endpoint, "transformers": by_transformers},
        "figures": figures,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
