"""The id of the request that is being answered, passed on to every service that is asked for it.

A service sets it when a request comes in; the client sends it along with whatever is asked within
that request, so that the logs of all services can be searched for the same id.
"""

from __future__ import annotations

from contextvars import ContextVar

HEADER = "x-request-id"
request_id: ContextVar[str] = ContextVar("vila2_request_id", default="")
