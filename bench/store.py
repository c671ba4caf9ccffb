"""Speed and memory of the dataset store compared with webdataset, in one run on one machine.

    python bench/store.py [--images DIR] [--samples 1000000] [--only ingest read shards memory]

Without `--images` (a folder of JPEGs), 2,000 JPEGs of 500×375 are generated. Prints a Markdown
table of ratios.

- ingest: images from disk into shards, with hashing, full decoding, and checks of dimensions and
  duplicates; compared with `webdataset.ShardWriter`, which only writes the same bytes.
- read: a shard joined with its caption layer; compared with reading the tar with `webdataset`.
- shards: paging, search and summary of a dataset of 100,000 shards; compared with one of 100.
- memory: the resident size of ingest during a million small samples.
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import json
import os
import resource
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from vila2.data.admission import Admission
from vila2.data.index import encode_index
from vila2.data.layers import CAPTIONED, CaptionRow, decode_layer_shard, encode_layer_shard
from vila2.data.sample import RawSample
from vila2.data.shards import read_shard, write_shard

SHARD = 1000


def main() -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of JPEGs (default: generated)")
    parser.add_argument("--limit", type=int, default=4000, help="images to use")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=1_000_000, help="samples of the memory part")
    parts = ("ingest", "read", "shards", "memory")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    print("| what | ours | instead | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        images = _images(given.images, Path(scratch), given.limit)
        if "ingest" in given.only:
            _ingest(images, Path(scratch), given.repeats)
        if "read" in given.only:
            _read(images, Path(scratch), given.repeats)
        if "shards" in given.only:
            _shards(Path(scratch), given.repeats)
        if "memory" in given.only:
            _memory(Path(scratch), given.samples)


def _row(what: str, ours: str, instead: str, ratio: str) -> None:
    print(f"| {what} | {ours} | {instead} | {ratio} |", flush=True)


def _images(folder: Path | None, scratch: Path, limit: int) -> list[Path]:
    if folder is not None:
        return sorted(folder.rglob("*.jpg"))[:limit]
    rng = np.random.default_rng(0)
    (scratch / "drawn").mkdir()
    paths = []
    for n in range(min(limit, 2000)):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        path = scratch / "drawn" / f"{n:06d}.jpg"
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths


def _alternating(
    repeats: int, ours: Callable[[], object], instead: Callable[[], object]
) -> tuple[float, float]:
    """Median seconds of each, alternating so that load affects both; the first run is a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(repeats + 1):
        for held, work in zip(times, (ours, instead), strict=True):
            started = time.perf_counter()
            work()
            if run:
                held.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def _raws(images: list[Path]) -> Iterator[RawSample]:
    for n, path in enumerate(images):
        yield RawSample(path.stem, path.name, path.read_bytes(), f"caption number {n}")


def _ingest(images: list[Path], scratch: Path, repeats: int) -> None:
    import webdataset

    def ours(*, decoded: bool) -> None:
        admission = Admission(decoded=decoded)
        # Decoding releases the GIL; the other work does not benefit from threads.
        workers = (os.cpu_count() or 1) if decoded else 1
        samples = admission.through(_raws(images), workers=workers)
        for number in itertools.count():
            first = next(samples, None)
            if first is None:
                break
            batch = itertools.chain([first], itertools.islice(samples, SHARD - 1))
            with (scratch / f"ours-{number}.tar").open("wb") as out:
                summary = write_shard(batch, out)
            (scratch / "index").write_bytes(encode_index(summary.index))
        admission.close()

    def instead() -> None:
        pattern = str(scratch / "theirs-%06d.tar")
        with webdataset.ShardWriter(pattern, maxcount=SHARD, verbose=0) as sink:
            for n, path in enumerate(images):
                text = f"caption number {n}"
                sink.write({"__key__": path.stem, "jpg": path.read_bytes(), "txt": text})

    for decoded, checked in ((False, "structure"), (True, "every pixel decoded")):
        one, two = _alternating(repeats, functools.partial(ours, decoded=decoded), instead)
        _row(
            f"ingest, {checked}, images/s (ShardWriter)",
            f"{len(images) / one:,.0f}",
            f"{len(images) / two:,.0f}",
            f"{two / one:.2f}",
        )


def _read(images: list[Path], scratch: Path, repeats: int) -> None:
    import webdataset

    admission = Admission()
    samples = list(itertools.islice(admission.through(_raws(images)), SHARD))
    with (scratch / "read.tar").open("wb") as out:
        write_shard(samples, out)
    rows = [
        CaptionRow(
            key=sample.key, sha256=sample.sha256, caption=f"a longer caption of {sample.key} " * 6,
            status=CAPTIONED, reason="", prompt_id="p", prompt="Describe the image in detail.",
            model="captioner", seed=n, attempt=0, temperature=0.7, tokens=60, logprob=-0.7,
            finish_reason="stop",
        )
        for n, sample in enumerate(samples)
    ]  # fmt: skip
    (scratch / "read.parquet").write_bytes(encode_layer_shard(rows)[0])

    def joined() -> int:
        captions = decode_layer_shard(scratch / "read.parquet")
        pairs = zip(read_shard(scratch / "read.tar"), captions, strict=True)
        return sum(len(sample.image) + len(row.caption) for sample, row in pairs)

    def tar_alone() -> int:
        with tarfile.open(scratch / "read.tar", "r|") as tar:
            return sum(len(held.read()) for m in tar if (held := tar.extractfile(m)) is not None)

    def by_webdataset() -> int:
        url = f"file:{scratch / 'read.tar'}"
        return sum(len(s["jpg"]) for s in webdataset.WebDataset(url, shardshuffle=False))

    for name, instead in (("tarfile", tar_alone), ("webdataset", by_webdataset)):
        one, two = _alternating(repeats * 3, joined, instead)
        _row(
            f"read a layer joined to its shard, samples/s (tar alone by {name})",
            f"{len(samples) / one:,.0f}",
            f"{len(samples) / two:,.0f}",
            f"{two / one:.2f}",
        )


def _shards(scratch: Path, repeats: int) -> None:
    from services.datasets.tables import DatasetRow, ShardRow, VersionRow
    from services.platform.embedded import EmbeddedPlatform

    with EmbeddedPlatform(scratch / "workspace") as platform:
        database = platform.apps["datasets"].state.context.database
        for name, count in (("small", 100), ("large", 100_000)):
            with database.transaction() as session:
                dataset = DatasetRow(team="local", name=name, kind="pairs", latest=1)
                session.add(dataset)
                session.flush()
                version = VersionRow(
                    dataset_id=dataset.id, number=1, state="ready", shard_samples=10_000,
                    shards=count, samples=count * 10_000, bytes=count * 10**9,
                )  # fmt: skip
                session.add(version)
                session.flush()
                rows = [
                    {"version_id": version.id, "number": n, "object_key": f"shards/{n}.tar",
                     "index_key": f"indexes/{n}", "sha256": "0" * 64, "bytes": 10**9,
                     "samples": 10_000}
                    for n in range(count)
                ]  # fmt: skip
                session.bulk_insert_mappings(ShardRow, rows)
        client = platform.client.datasets
        asks: dict[str, Callable[[str], object]] = {
            "summary": client.version,
            "search by name": client.all,
            "one shard looked up": lambda name: client.shard(name, 1, 50),
        }
        for what, ask in asks.items():
            large, small = _alternating(
                repeats * 5, functools.partial(ask, "large"), functools.partial(ask, "small")
            )
            _row(
                f"{what}, of 100,000 shards with 10,000 images each (of 100 shards)",
                f"{large * 1000:.1f} ms",
                f"{small * 1000:.1f} ms",
                f"{small / large:.2f}",
            )
        started = time.perf_counter()
        count = sum(1 for _ in client.each_shard("large", 1))
        _row("every shard listed, 100,000", f"{time.perf_counter() - started:.1f} s", "", "")
        assert count == 100_000


def _memory(scratch: Path, samples: int) -> None:
    def raws() -> Iterator[RawSample]:
        # A tiny PNG with one distinct pixel row: small, valid and unique.
        for n in range(samples):
            pixels = np.frombuffer(n.to_bytes(192, "big"), dtype=np.uint8).reshape(8, 8, 3)
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, "PNG", compress_level=1)
            yield RawSample(f"{n:09d}", f"{n}.png", out.getvalue(), f"caption {n}")

    admission = Admission()
    admitted = admission.through(raws(), workers=1)
    seen: list[tuple[int, float]] = []
    started = time.perf_counter()
    for number in itertools.count():
        first = next(admitted, None)
        if first is None:
            break
        batch = itertools.chain([first], itertools.islice(admitted, 9_999))
        with (scratch / "memory.tar").open("wb") as out:
            write_shard(batch, out)
        if number % max(1, samples // 100_000) == 0:
            seen.append((admission.accepted, _resident()))
    seconds = time.perf_counter() - started
    admission.close()
    early = next(size for count, size in seen if count >= samples // 10)
    _row(
        f"memory of ingest after {samples:,} samples ({samples // 10:,})",
        f"{seen[-1][1]:.0f} MiB",
        f"{early:.0f} MiB",
        f"{early / seen[-1][1]:.2f}",
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{json.dumps([(count, round(size)) for count, size in seen])}")
    print(f"peak {peak:.0f} MiB, {samples / seconds:,.0f} samples/s on one thread")


def _resident() -> float:
    """Resident size of this process in MiB."""
    with Path("/proc/self/statm").open() as held:
        return int(held.read().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
