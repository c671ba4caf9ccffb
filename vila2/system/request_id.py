"""The id of the current request, propagated to every service that takes part in it.

A service sets it when a request arrives; the client sends it with every call made within that
request, so that the logs of all services can be searched for the same id.
"""

from __future__ import annotations

from contextvars import ContextVar

HEADER = "x-request-id"
request_id: ContextVar[str] = ContextVar("vila2_request_id", default="")
