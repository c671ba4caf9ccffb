"""What a 202 points to: the resource that tells how far the work is."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Response


class Location:
    """Names the resource of what a request started, in the reply's `Location` header."""

    def __init__(self, request: Request, response: Response) -> None:
        # Below the prefix that a service has where several share one address.
        self._root, self._response = request.scope.get("root_path", ""), response

    def tell(self, path: str) -> None:
        """`path` is of this service, below `/v1/`."""
        self._response.headers["Location"] = f"{self._root}/v1/{path}"


def location(request: Request, response: Response) -> Location:
    """A dependency: where to say what was started."""
    return Location(request, response)


Started = Annotated[Location, Depends(location)]
