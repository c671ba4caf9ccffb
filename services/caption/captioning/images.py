"""Prefetching: prepares the next images while the engine works on the current ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vila2.data.images.decoding import ImageRejected, as_sent, decode, decode_within
from vila2.data.images.in_flight import cores
from vila2.data.sample import Sample
from vila2.engine.requests import ImageData, ImageInput

Prepared = ImageData | ImageRejected


def prepared(data: bytes, how: ImageInput) -> ImageData:
    """An image as an engine takes it; raises `ImageRejected`."""
    if how.encoded:
        return as_sent(data, how.max_pixels)
    if how.side:
        return decode(data, size=(how.side, how.side))
    return np.asarray(decode_within(data, how.max_pixels))


def prepared_ahead(
    chunks: Sequence[Sequence[Sample]], how: ImageInput
) -> Iterator[tuple[Sequence[Sample], list[Prepared]]]:
    """Chunks of samples, each with its images, or with the errors of those that do not decode.

    One chunk is prepared ahead, so memory does not grow with their number. Uses threads: Pillow
    releases the GIL while decoding and resizing.
    """

    def one(sample: Sample) -> Prepared:
        try:
            return prepared(sample.image, how)
        except ImageRejected as error:
            return error

    with ThreadPoolExecutor(cores(), thread_name_prefix="decode") as pool:
        ahead = [pool.submit(one, sample) for sample in chunks[0]] if chunks else []
        for number, present in enumerate(chunks):
            ready = ahead
            if number + 1 < len(chunks):
                ahead = [pool.submit(one, sample) for sample in chunks[number + 1]]
            yield present, [future.result() for future in ready]
