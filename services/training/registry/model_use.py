"""Whether a model is in use, as the caption service knows it."""

from __future__ import annotations

from services.chassis.web.errors import Conflict
from vila2.client.client import CaptionClient

_UNFINISHED = ("running", "paused")


def check_unused(caption: CaptionClient, model: str) -> None:
    """Raise `Conflict` if an endpoint answers with the model or a caption job needs it."""
    for endpoint in caption.endpoints():
        if model in (endpoint.model, endpoint.previous):
            raise Conflict(
                f"the endpoint {endpoint.name} answers with {model}, or would go back to it",
                field="name",
                fix=f"deploy another model to {endpoint.name} first",
            )
    for job in caption.jobs():
        if job.model == model and job.state in _UNFINISHED:
            raise Conflict(
                f"the caption job {job.id} uses {model}",
                field="name",
                fix=f"let it end, or `vila2 captions cancel {job.id}`",
            )
