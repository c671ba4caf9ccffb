"""Captioning against what one would write instead, in one run with the same weights and pictures.

    python bench/captioning.py              # prints the table and writes bench/captioning.json

Random weights, so that nothing needs to be downloaded; every contender makes the same number of
tokens for each picture. All of them compute with `--threads` torch threads (1 by default, so that
one engine fills one core and the rest of the service has the other). The bare engine and the
service take turns `--repeats` times, and their ratio is of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from captioning_rivals import decoding, generated, piped
from captioning_service import on_triton, peak_of, workers_apart
from captioning_workload import SMALL, TOKENS, built, lengths, pictures, requests, timed
from rich.console import Console
from rich.table import Table

from vila2.model.captioner import Captioner

MEMORY_SIZES = (1_000, 8_000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=768, help="pictures")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    console = Console()
    vlm = built()
    jpegs = pictures(given.count)
    same, varied = [TOKENS] * given.count, lengths(given.count)
    rates: dict[str, list[float]] = {}

    def rate(name: str, tokens: Sequence[int], work: Callable[[], float]) -> None:
        seconds = work()
        rates.setdefault(name, []).append(sum(tokens) / seconds)
        console.print(f"{name}: {rates[name][-1]:,.0f} tokens/s ({seconds:.1f} s)")

    captioner = Captioner(vlm, batch_size=given.batch)
    asked_same, asked_varied = requests(jpegs, same), requests(jpegs, varied)
    captioner.generate(asked_same[: given.batch])

    def bare() -> float:
        return timed(lambda: captioner.generate(asked_same))

    for instances, repeats in ((1, given.repeats), (2, 1)):
        with on_triton(
            vlm, jpegs, tokens=TOKENS, batch=given.batch, threads=given.threads,
            instances=instances,
        ) as layers:  # fmt: skip
            for _ in range(repeats):
                rate("bare engine, alike", same, bare)
                rate(f"service, {instances} engine(s)", same, layers.seconds)
    rate("bare engine, alike", same, bare)
    rate("bare engine, varied", varied, lambda: timed(lambda: captioner.generate(asked_varied)))
    rate(
        "generate in fixed batches, varied", varied,
        lambda: timed(lambda: generated(vlm, jpegs, varied, batch=given.batch)),
    )  # fmt: skip
    few = slice(0, max(16, given.count // 16))
    rate(
        "a loop over generate, varied", varied[few],
        lambda: timed(lambda: generated(vlm, jpegs[few], varied[few], batch=1)),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        vlm.save(Path(name))
        rate(
            "a loop over the pipeline, varied", varied[few],
            lambda: timed(lambda: piped(Path(name), jpegs[few], varied[few])),
        )  # fmt: skip
    pixels = decoding(100)
    workers = workers_apart(
        built(SMALL), pictures(1024, width=1024, height=768), tokens=2, batch=64
    )
    console.print(workers)
    memory = [peak_of(count) for count in MEMORY_SIZES]
    console.print(memory)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {
        "service / bare engine (>= 0.95)": middle["service, 1 engine(s)"]
        / middle["bare engine, alike"],
        "two engines / one (2 cores)": middle["service, 2 engine(s)"]
        / middle["service, 1 engine(s)"],
        "two workers / one (2 cores)": workers["2 worker(s)"]["pictures_per_s"]
        / workers["1 worker(s)"]["pictures_per_s"],
        "engine / generate in fixed batches (>= 1.5)": middle["bare engine, varied"]
        / middle["generate in fixed batches, varied"],
        "engine / loop over transformers.pipeline (>= 5)": middle["bare engine, varied"]
        / middle["a loop over the pipeline, varied"],
        "engine / loop over generate": middle["bare engine, varied"]
        / middle["a loop over generate, varied"],
        "decoding / transformers' processor (>= 3)": pixels["ratio"],
        f"peak memory, {MEMORY_SIZES[1]:,} pictures / {MEMORY_SIZES[0]:,}": memory[1]["peak_mib"]
        / memory[0]["peak_mib"],
    }
    table = Table("", "ratio")
    for label, ratio in ratios.items():
        table.add_row(label, f"{ratio:.2f}")
    console.print(table)
    console.print({name: round(value, 2) for name, value in pixels.items()})
    figures = {"cores": os.cpu_count(), "threads": given.threads, "count": given.count,
               "batch": given.batch, "tokens_per_second": rates, "ratios": ratios,
               "decoding": pixels, "workers": workers, "memory": memory}  # fmt: skip
    given.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
