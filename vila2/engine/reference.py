"""The reference of the consistency score: an average image embedding.

It is the mean of the projector's output over some images, and is stored with the model. The file is
in a subfolder, because vLLM loads every `*.safetensors` beside the weights as weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from vila2.data.images.decoding import decode
from vila2.data.sample import Sample
from vila2.engine.requests import GREY, REFERENCE_FILE
from vila2.model.build import VLM
from vila2.model.external_models import image_rows

IMAGES = 128
_BATCH = 32


@torch.inference_mode()
def image_embeddings(vlm: VLM, pixel_values: torch.Tensor) -> torch.Tensor:
    """The projector's output, the language model's input for an image: (B, image tokens, hidden).

    `pixel_values` are those of `VLM.normalise`, or cached tower features under a `Bypass`.
    """
    made = image_rows(vlm.model.get_image_features(pixel_values=pixel_values))
    return made.reshape(len(pixel_values), vlm.image_tokens, -1)


def mean_embedding(vlm: VLM, images: Iterable[np.ndarray]) -> torch.Tensor:
    """Mean of `image_embeddings` over uint8 images (H, W, 3): (image tokens, hidden), float32.

    Raises `ValueError` for no images.
    """
    device, dtype = vlm.model.device, vlm.model.dtype
    total, count, rest = None, 0, iter(images)
    while batch := list(islice(rest, _BATCH)):
        pixels = vlm.normalise(torch.from_numpy(np.stack(batch)).to(device)).to(dtype)
        # Summed in float64, so that the mean does not depend on the batch size.
        made = image_embeddings(vlm, pixels).double().sum(0)
        total, count = made if total is None else total + made, count + len(batch)
    if total is None:
        raise ValueError("a reference needs at least one image")
    return (total / count).float()


def grey_embedding(vlm: VLM) -> torch.Tensor:
    """The embedding of a uniform grey image: the fallback for a model without a reference."""
    size = vlm.preset.image_size
    return mean_embedding(vlm, [np.full((size, size, 3), GREY, np.uint8)])


def write_reference(directory: Path, samples: Iterable[Sample]) -> int:
    """Store the reference of a saved model, from the first images; returns their number."""
    from safetensors.torch import save_file

    vlm = VLM.load(directory)
    vlm.model.eval()
    size = vlm.preset.image_size
    chosen = [decode(s.image, size=(size, size)) for s in islice(samples, IMAGES)]
    path = directory / REFERENCE_FILE
    path.parent.mkdir(exist_ok=True)
    made = {"embedding": mean_embedding(vlm, chosen).contiguous()}
    save_file(made, path, metadata={"images": str(len(chosen))})
    return len(chosen)


def read_reference(directory: Path, vlm: VLM) -> torch.Tensor | None:
    """The stored reference (image tokens, hidden), or `None` if the model has none.

    Raises `ValueError` if its shape belongs to another model.
    """
    from safetensors.torch import load_file

    path = directory / REFERENCE_FILE
    if not path.exists():
        return None
    found = load_file(path).get("embedding")
    wanted = (vlm.image_tokens, vlm.model.config.get_text_config().hidden_size)
    if found is None or tuple(found.shape) != wanted:
        held = "no embedding" if found is None else f"an embedding of {tuple(found.shape)}"
        raise ValueError(
            f"{path} holds {held}, this model's is {wanted}: remove the file, and a grey image "
            "is the reference"
        )
    return found
