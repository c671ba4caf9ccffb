"""Names of dataset versions: `photos` is the version in use, `photos@3` the third."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

MAX_VERSION = 2**31 - 1
_NAME = "[a-z0-9][a-z0-9._-]{0,62}"
_VERSION = "[1-9][0-9]{0,9}"
# In JSON schemas; it also lets a few numbers above MAX_VERSION pass.
PATTERN = f"^{_NAME}(@{_VERSION})?$"


class DatasetRef(str):
    """A dataset by name, or one version of it.

    It is the text that is sent and stored, so it can be used wherever a string is expected; `name`
    and `version` are its parts. Both constructors raise `ValueError`, which says what to give.
    """

    __slots__ = ()

    def __new__(cls, name: str, version: int = 0) -> DatasetRef:
        """From its parts; version 0 is the version in use."""
        if not re.fullmatch(_NAME, name):
            raise ValueError(
                f"{name[:80]!r} is not a dataset's name: give at most 63 small letters, digits, "
                "dots, dashes and underscores"
            )
        if not 0 <= version <= MAX_VERSION:
            raise ValueError(f"{version} is not a version: give a number from 1 to {MAX_VERSION}")
        return super().__new__(cls, f"{name}@{version}" if version else name)

    @classmethod
    def parse(cls, text: str) -> DatasetRef:
        """From NAME or NAME@VERSION."""
        name, at, version = text.partition("@")
        if at and not re.fullmatch(_VERSION, version):
            raise ValueError(
                f"{text[:80]!r} is not NAME@VERSION: give the version as a number, as in photos@3, "
                "or the name alone for the version in use"
            )
        return cls(name, int(version or 0))

    @property
    def name(self) -> str:
        """The dataset's name."""
        return str(self).partition("@")[0]

    @property
    def version(self) -> int:
        """The version's number; 0 is the version in use."""
        return int(self.partition("@")[2] or 0)

    def __getnewargs__(self) -> tuple[str, int]:  # type: ignore[override]
        return self.name, self.version

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls.parse,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(
                str, return_schema=core_schema.str_schema()
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": PATTERN}


def _parsed_or_empty(text: str) -> str:
    return DatasetRef.parse(text) if text else ""


# A dataset that may be left out: "".
OptionalDatasetRef = Annotated[
    str,
    AfterValidator(_parsed_or_empty),
    WithJsonSchema({"type": "string", "pattern": f"^({_NAME}(@{_VERSION})?)?$"}),
]
