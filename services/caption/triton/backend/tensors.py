"""Tensors of one request and its answers, for every `*_model.py`. It runs in Triton's process."""

from __future__ import annotations

import io
import json

import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image

from vila2.schemas.sampling import Sampling

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
# Triton completes its module after these files are imported: its classes are used by name here.
BUSY, WRONG, BROKEN = "UNAVAILABLE", "INVALID_ARG", "INTERNAL"


def image_of(request, side):
    """The image as Pillow has it, RGB; raises ValueError unless it is a square of `side`."""
    tensor = pb_utils.get_input_tensor_by_name(request, "image")
    if tensor is None:
        raise ValueError("image: send one, as an encoded file")
    with Image.open(io.BytesIO(tensor.as_numpy().reshape(-1)[0])) as opened:
        image = opened.convert("RGB")
    if image.size != (side, side):
        raise ValueError(f"image: it is {image.size}, this model wants {side} pixels")
    return image


def sampling_of(request):
    """(sampling, seed, caption to score or None)."""
    given = json.loads(text(request, "sampling_parameters") or "{}")
    sampling = Sampling(
        temperature=float(given.get("temperature", 0.0)),
        top_p=float(given.get("top_p", 1.0)),
        max_new_tokens=int(given.get("max_tokens", 64)),
    )
    score = given.get("score")
    return sampling, int(given.get("seed", 0)), None if score is None else str(score)


def answer(text, finish_reason, logprob, tokens, prompt_tokens):
    """The last response; `logprob` is the sum over `tokens`."""
    return pb_utils.InferenceResponse(
        [
            strings("text_output", text),
            strings("finish_reason", finish_reason),
            pb_utils.Tensor("cumulative_logprob", np.array([logprob], np.float32)),
            pb_utils.Tensor("num_input_tokens", np.array([prompt_tokens], np.uint32)),
            pb_utils.Tensor("num_output_tokens", np.array([tokens], np.uint32)),
        ]
    )


def piece(text):
    """A response with more of the text."""
    return pb_utils.InferenceResponse([strings("text_output", text)])


def refuse(sender, message, code):
    error = pb_utils.TritonError(message, getattr(pb_utils.TritonError, code))
    sender.send(pb_utils.InferenceResponse(error=error), flags=FINAL)


def strings(name, value):
    return pb_utils.Tensor(name, np.array([value.encode()], dtype=np.object_))


def text(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return "" if tensor is None else tensor.as_numpy().reshape(-1)[0].decode()


def boolean(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return tensor is not None and bool(tensor.as_numpy().reshape(-1)[0])
