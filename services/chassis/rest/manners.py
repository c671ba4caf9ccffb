"""Hooks the manners into a service's app: all that `create_service` needs to know of them."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.rest.etags import EntityTags
from services.chassis.rest.idempotency import Idempotency, add_replays
from services.chassis.rest.kept_replies import KeptReplies
from services.chassis.rest.methods import add_allow
from services.chassis.rest.openapi import complete_document


def add_manners(app: FastAPI, replies: KeptReplies) -> None:
    """Idempotency keys, entity tags, and the document that tells of them."""
    app.add_middleware(Idempotency, replies=replies)
    app.add_middleware(EntityTags)
    add_replays(app)
    complete_document(app)
    add_allow(app)
