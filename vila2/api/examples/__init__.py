"""An example of every request body and of the main replies, told as one story.

A team submits the dataset `web-photos`, starts a run of a small recipe, and deploys what comes
out. `Model` puts each into its JSON schema, so the OpenAPI documents show them; a test holds every
one against its model. Keys are SERVICE.MODEL, after the file that defines it.
"""

from __future__ import annotations

from typing import Any

from vila2.api.examples import caption, controller, datasets, identity, training
from vila2.api.examples.story import RECIPE

__all__ = ["EXAMPLES", "RECIPE"]

EXAMPLES: dict[str, dict[str, Any]] = {
    **datasets.EXAMPLES,
    **caption.EXAMPLES,
    **training.EXAMPLES,
    **controller.EXAMPLES,
    **identity.EXAMPLES,
}
