"""Examples in the models' JSON schemas, and the values that they share.

All examples belong to one scenario: a team submits the dataset `web-photos`, starts a run of a
small recipe, and deploys the resulting model. A test validates each example against its model.
"""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

AT = 1_790_000_000.0  # seconds since 1970
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
BASE, MODEL = "tiny-base-5e1b2c9a-77d0", "tiny-9f86d081-3c1a"
LAYER, RUN, JOB = "layer-4be0643f1d98", "run-7c9e6679", "job-16fd2706a1b2"
PROMPT = "Describe the image in detail."
CAPTION = "A red fox stands on a snowy path between birches."
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
DONE = {"done": 4000, "total": 4000, "unit": "samples", "phase": "done", "eta_seconds": 0.0}
TRAINING = {"done": 310, "total": 1000, "unit": "permille", "phase": "sft"}
STAGE = {"steps": 300, "batch_size": 64, "lr": 0.002, "trainable": ["projector", "language"]}


def example(**fields: Any) -> ConfigDict:
    """A model configuration that adds an example to the JSON schema."""
    return ConfigDict(json_schema_extra={"examples": [fields]})
