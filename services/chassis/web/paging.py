"""Pagination: `?limit=&cursor=`, and a `Link` header (RFC 8288) to the next page.

A cursor encodes the sort key of a page's last entry, not its position, so concurrent inserts and
deletes shift nothing: an entry that exists throughout is returned exactly once. Cursors are opaque,
valid for one list with its filters, and grant no access, since every list filters by team itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from services.chassis.web.errors import Invalid

DEFAULT, MOST = 100, 1000
LONGEST = 2000
_LARGEST = 2**63

Row = TypeVar("Row")
Item = TypeVar("Item")
Key = tuple[str | int | float, ...]


class Page:
    """The requested part of a list; filling it sets the response's `Link` header."""

    def __init__(self, limit: int, after: Key | None, link: Callable[[Key], None]) -> None:
        self._limit, self._after, self._link = limit, after, link

    def rows(
        self,
        session: Session,
        query: Select[Row],
        *columns: InstrumentedAttribute[Any],
        newest_first: bool = False,
    ) -> list[Row]:
        """The page's rows, ordered by columns that together are unique.

        The columns must belong to the selected row, be not null, and be str, int or float.
        """
        if self._after is not None:
            self._check([column.type.python_type for column in columns])
            if any(isinstance(part, str) and "\0" in part for part in self._after):
                raise _wrong()  # no row contains NUL, and PostgreSQL rejects it
            key, at = tuple_(*columns), tuple_(*self._after)
            query = query.where(key < at if newest_first else key > at)
        order = [column.desc() if newest_first else column for column in columns]
        found = session.scalars(query.order_by(*order).limit(self._limit + 1))
        return self._cut([(tuple(getattr(row, c.key) for c in columns), row) for row in found])

    def items(self, items: Iterable[Item], key: Callable[[Item], Key]) -> list[Item]:
        """A page of an in-memory list, ordered by `key`, which must be unique."""
        held = sorted(((key(item), item) for item in items), key=lambda pair: pair[0])
        if self._after is not None and held:
            self._check([type(part) for part in held[0][0]])
            after = self._after
            held = [pair for pair in held if pair[0] > after]
        return self._cut(held)

    def numbered(self, items: Iterable[Item]) -> list[Item]:
        """A page of an append-only list, using positions as keys."""
        held = self.items(enumerate(items), lambda pair: (pair[0],))
        return [item for _, item in held]

    def _cut(self, found: list[tuple[Key, Item]]) -> list[Item]:
        page = found[: self._limit]
        if len(found) > self._limit:
            self._link(page[-1][0])
        return [item for _, item in page]

    def _check(self, kinds: Sequence[type]) -> None:
        """Raise `Invalid` for a cursor this list could not have produced."""
        after = self._after or ()
        if len(after) != len(kinds) or not all(map(_fits, after, kinds)):
            raise _wrong()


def paging(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Maximum number of entries.")] = DEFAULT,
    cursor: Annotated[
        str, Query(max_length=LONGEST, description="From the `Link` header of the previous page.")
    ] = "",
) -> Page:
    """Dependency: the page a request asks for."""
    filters = [(k, v) for k, v in request.query_params.multi_items() if k not in _OURS]
    # Bound to this list and its filters: elsewhere the key would mean another position.
    mark = hashlib.sha256(f"{request.url.path}?{sorted(filters)}".encode()).hexdigest()[:8]

    def link(key: Key) -> None:
        given = urlencode([*filters, ("limit", limit), ("cursor", _encode(mark, key))])
        response.headers["Link"] = f'<?{given}>; rel="next"'

    return Page(limit, _decode(mark, cursor) if cursor else None, link)


Paged = Annotated[Page, Depends(paging)]
_OURS = ("limit", "cursor")


def _encode(mark: str, key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([mark, *key]).encode()).decode().rstrip("=")


def _decode(mark: str, cursor: str) -> Key:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        held = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _wrong() from error
    if not isinstance(held, list) or held[:1] != [mark]:
        raise _wrong()
    return tuple(held[1:])


def _fits(value: object, kind: type) -> bool:
    if kind is str:
        return isinstance(value, str)
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
    return whole or (kind is float and isinstance(value, float) and abs(value) < float("inf"))


def _wrong() -> Invalid:
    return Invalid(
        "this cursor does not belong to this list and its filters",
        field="cursor",
        fix="take it from the Link header of the previous page, or omit it to start over",
    )


WHOLE = Page(10**9, None, lambda _: None)  # for callers within the service: a list from end to end
