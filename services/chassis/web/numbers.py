"""Numbers in paths and queries, limited to what databases and arithmetic can hold."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

# The range of the databases' integer columns.
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]
# Neither NaN nor infinity nor beyond the year 5000.
Moment = Annotated[
    float, Query(ge=0, le=1e11, allow_inf_nan=False, description="Seconds since 1970.")
]
