"""Captioning throughput compared with baselines, in one run with the same weights and images.

    python bench/captioning.py                  # prints the table, writes bench/captioning.json
    python bench/captioning.py --device cuda    # on a GPU, with the shapes of vila2-2b

Weights are random, so nothing is downloaded. Every contender generates the same number of tokens
for each image and uses `--threads` torch threads (default 1: the engine uses one core and the rest
of the service the other). The bare engine and the service alternate `--repeats` times; their ratio
is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from captioning_rivals import decoding, generated, piped
from captioning_service import on_triton, peak_of, workers_apart
from captioning_workload import LARGE, SMALL, TOKENS, built, images, lengths, requests, timed
from rich.console import Console
from rich.table import Table

from vila2.engine.captioner import Captioner
from vila2.model.build import VLM

MEMORY_SIZES = (1_000, 8_000)
BARE, ENGINE = "bare engine, alike", "bare engine, varied"
BATCHES, LOOP = "generate in fixed batches, varied", "a loop over generate, varied"
PIPELINE = "a loop over the pipeline, varied"


class Rates:
    """Tokens/s of each contender, once per pass."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.of: dict[str, list[float]] = {}

    def add(self, name: str, tokens: Sequence[int], seconds: float) -> None:
        """Record one pass."""
        self.of.setdefault(name, []).append(sum(tokens) / seconds)
        self._console.print(f"{name}: {self.of[name][-1]:,.0f} tokens/s ({seconds:.1f} s)")

    def ratio(self, one: str, other: str) -> float:
        """Ratio of the two contenders' medians."""
        return statistics.median(self.of[one]) / statistics.median(self.of[other])


def engines(rates: Rates, vlm: VLM, given: argparse.Namespace) -> dict[str, float]:
    """Service, bare engine and rivals."""
    jpegs = images(given.count)
    same, varied = [TOKENS] * given.count, lengths(given.count)
    captioner = Captioner(vlm, batch_size=given.batch, device=given.device)
    side = captioner.image_size
    asked_same, asked_varied = (requests(jpegs, n, side=side) for n in (same, varied))
    captioner.generate(asked_same[: given.batch])
    # A second engine needs a second core; a GPU runs one engine.
    for instances, repeats in ((1, given.repeats), (2, 1))[: 1 if given.device == "cuda" else 2]:
        with on_triton(
            vlm, jpegs, tokens=TOKENS, batch=given.batch, threads=given.threads,
            instances=instances, gpus=int(given.device == "cuda"),
        ) as layers:  # fmt: skip
            for _ in range(repeats):
                rates.add(BARE, same, timed(lambda: captioner.generate(asked_same)))
                rates.add(f"service, {instances} engine(s)", same, layers.seconds())
    rates.add(BARE, same, timed(lambda: captioner.generate(asked_same)))
    rates.add(ENGINE, varied, timed(lambda: captioner.generate(asked_varied)))
    rates.add(BATCHES, varied, timed(lambda: generated(vlm, jpegs, varied, batch=given.batch)))
    few = slice(0, max(16, given.count // 16))
    jpegs, varied = jpegs[few], varied[few]
    rates.add(LOOP, varied, timed(lambda: generated(vlm, jpegs, varied, batch=1)))
    with tempfile.TemporaryDirectory() as name:
        vlm.save(Path(name))
        rates.add(PIPELINE, varied, piped(Path(name), jpegs, varied, device=given.device))
    ratios = {
        "service / bare engine (>= 0.95)": rates.ratio("service, 1 engine(s)", BARE),
        "engine / generate in fixed batches (>= 1.5)": rates.ratio(ENGINE, BATCHES),
        "engine / loop over transformers.pipeline (>= 5)": rates.ratio(ENGINE, PIPELINE),
        "engine / loop over generate": rates.ratio(ENGINE, LOOP),
    }
    if given.device == "cpu":
        label = "two engines / one (2 cores)"
        ratios[label] = rates.ratio("service, 2 engine(s)", "service, 1 engine(s)")
    return ratios


def around() -> tuple[dict[str, float], dict[str, object]]:
    """CPU-only measurements: decoding, more workers, memory by size."""
    pixels = decoding(100)
    workers = workers_apart(built(SMALL), images(1024, width=1024, height=768), tokens=2, batch=64)
    memory = [peak_of(count) for count in MEMORY_SIZES]
    ratios = {
        "two workers / one (2 cores)": workers["2 worker(s)"]["images_per_s"]
        / workers["1 worker(s)"]["images_per_s"],
        "decoding / transformers' processor (>= 3)": pixels["ratio"],
        f"peak memory, {MEMORY_SIZES[1]:,} images / {MEMORY_SIZES[0]:,}": memory[1]["peak_mib"]
        / memory[0]["peak_mib"],
    }
    return ratios, {"decoding": pixels, "workers": workers, "memory": memory}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--count", type=int, default=768, help="images")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    console = Console()
    rates = Rates(console)
    more: dict[str, object] = {}
    if given.device == "cpu":
        ratios = engines(rates, built(), given)
        beside, more = around()
        ratios.update(beside)
    else:
        more["gpu"] = torch.cuda.get_device_name()
        ratios = engines(rates, built(LARGE), given)
    table = Table("", "ratio")
    for label, ratio in ratios.items():
        table.add_row(label, f"{ratio:.2f}")
    console.print(table)
    console.print(more)
    figures = {"cores": os.cpu_count(), "threads": given.threads, "count": given.count,
               "batch": given.batch, "tokens_per_second": rates.of, "ratios": ratios,
               **more}  # fmt: skip
    name = "captioning.json" if given.device == "cpu" else "captioning-gpu.json"
    (given.out or Path(__file__).with_name(name)).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
