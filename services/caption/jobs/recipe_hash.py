"""The recipe hash of captions: layers with the same hash differ only in their dataset."""

from __future__ import annotations

import hashlib
import json

from services.caption.engines.engine import EngineInfo
from services.caption.gate.requirements import detector_version
from services.chassis.storage.objects import ObjectStore
from vila2.data.images.decoding import DECODE_VERSION, DECODED_MODE
from vila2.model.preset import PRESET_FILE
from vila2.schemas.canonical import canonical_json
from vila2.schemas.rest.caption import CaptionJobIn

# Increase when the same request would produce different captions: when prompts are drawn
# differently, or attempts, the gate or a specialist's filter change.
CAPTION_CODE_VERSION = 2


def recipe_hash(body: CaptionJobIn, engine: EngineInfo, *, image_size: int) -> str:
    """16 hex digits over everything that determines a caption besides the image.

    `body.model` is a registered model, whose name includes the digest of its weights. Stored
    consistency scores do not change captions, so they are not hashed. If a layer starts from
    another, that layer is hashed as well.
    """
    ingredients = {
        "model": body.model,
        "prompts": body.prompts,
        "sampling": body.sampling.model_dump(),
        "gate": body.gate.model_dump(),
        "language_detector": detector_version(body.gate),
        "seed": body.seed,
        "task": body.task,
        "preprocessing": {
            "image_size": image_size,
            "mode": DECODED_MODE,
            "decode": DECODE_VERSION,
        },
        "engine": {"kind": engine.kind, "version": engine.version},
        "code": CAPTION_CODE_VERSION,
        "base": None if body.mode == "overwrite" else [body.mode, body.base_layer],
    }
    return hashlib.sha256(canonical_json(ingredients)).hexdigest()[:16]


def image_size_of(objects: ObjectStore, prefix: str) -> int:
    """Side in pixels of the square image that a stored model gets; 0 for the model's own size."""
    try:
        preset = json.loads(objects.get(f"{prefix}/{PRESET_FILE}"))
    except KeyError:
        return 0  # a model that was not saved by this platform
    return int(preset["image_size"])
