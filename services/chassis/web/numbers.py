"""Path parameters that are numbers, limited to the range of the databases' integer columns."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
