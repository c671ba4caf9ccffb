"""Numbers in paths, held to what the databases' integer columns can hold."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
