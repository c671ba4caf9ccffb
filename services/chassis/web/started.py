"""The `Location` header of a 202 response: the resource that reports the progress."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Response


class Location:
    """Sets a response's `Location` header to the resource that the request started."""

    def __init__(self, request: Request, response: Response) -> None:
        # The service's prefix if several services share one address.
        self._root, self._response = request.scope.get("root_path", ""), response

    def tell(self, path: str) -> None:
        """Set the header; `path` is relative to this service's `/v1/`."""
        self._response.headers["Location"] = f"{self._root}/v1/{path}"


def location(request: Request, response: Response) -> Location:
    """FastAPI dependency that provides the response's `Location`."""
    return Location(request, response)


Started = Annotated[Location, Depends(location)]
