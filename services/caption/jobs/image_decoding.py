"""Prefetching: decodes the next images while the engine works on the current ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vila2.data.images.decoding import ImageRejected, decode
from vila2.data.sample import Sample

# Images in memory: two chunks, each 0.2 GB at 384 pixels a side.
CHUNK = 512


def decoded_ahead(
    samples: Sequence[Sample], *, size: int, chunk: int = CHUNK
) -> Iterator[tuple[Sequence[Sample], list[np.ndarray | ImageRejected]]]:
    """Chunks of samples, each with its image, uint8 (size, size, 3), or the decoding error.

    Uses threads: Pillow releases the GIL while decoding and resizing.
    """

    def one(sample: Sample) -> np.ndarray | ImageRejected:
        try:
            return decode(sample.image, size=(size, size))
        except ImageRejected as error:
            return error

    chunks = [samples[start : start + chunk] for start in range(0, len(samples), chunk)]
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode") as pool:
        ahead = [pool.submit(one, sample) for sample in chunks[0]] if chunks else []
        for number, present in enumerate(chunks):
            ready = ahead
            if number + 1 < len(chunks):
                ahead = [pool.submit(one, sample) for sample in chunks[number + 1]]
            yield present, [future.result() for future in ready]
