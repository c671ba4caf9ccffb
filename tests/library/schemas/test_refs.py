"""References to dataset versions: text, parts, and what is refused."""

from __future__ import annotations

import copy
import json
import pickle
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from vila2.schemas.refs import MAX_VERSION, DatasetRef, OptionalDatasetRef

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
VERSIONS = st.integers(0, MAX_VERSION)


class Body(BaseModel):
    model_config = ConfigDict(strict=True)

    dataset: DatasetRef
    also: OptionalDatasetRef = ""


@given(NAMES, VERSIONS)
def test_a_reference_is_read_back_from_its_text(name: str, version: int) -> None:
    ref = DatasetRef.parse(str(DatasetRef(name, version)))
    assert (ref.name, ref.version) == (name, version)


@given(st.text())
def test_text_that_is_accepted_is_kept(text: str) -> None:
    """There is one way to write a reference, so equal ones are equal as texts."""
    try:
        ref = DatasetRef.parse(text)
    except ValueError:
        return
    assert str(ref) == text


@given(NAMES, VERSIONS)
def test_a_reference_goes_over_the_wire_as_its_text(name: str, version: int) -> None:
    ref = DatasetRef(name, version)
    body = Body(dataset=ref)
    assert json.loads(body.model_dump_json())["dataset"] == str(ref)
    assert Body.model_validate_json(body.model_dump_json()).dataset == ref


def test_the_name_alone_is_the_version_in_use() -> None:
    assert DatasetRef.parse("photos").version == 0


@pytest.mark.parametrize(
    "text",
    [
        *("a@b", "a@²", "a@-1", "a@+1", "a@0", "a@03", "a@1.5", "a@ 1", "a@1\n", "a@", "a@1@2"),
        *("a@" + "9" * 5000, f"a@{MAX_VERSION + 1}", "", "@3", "A", "a b", "a/b", "-a", "a" * 64),
    ],
)
def test_other_text_is_refused_with_what_to_give(text: str) -> None:
    with pytest.raises(ValueError, match="give") as refused:
        DatasetRef.parse(text)
    assert len(str(refused.value)) < 250


def test_a_model_names_the_field_of_a_wrong_reference() -> None:
    with pytest.raises(ValidationError) as refused:
        Body.model_validate({"dataset": "a@b", "also": "c@d"})
    assert [error["loc"] for error in refused.value.errors()] == [("dataset",), ("also",)]


def test_an_optional_reference_may_be_empty() -> None:
    assert Body.model_validate({"dataset": "a", "also": ""}).also == ""


def test_a_number_is_no_reference() -> None:
    with pytest.raises(ValidationError):
        Body.model_validate({"dataset": 3})


def test_a_dump_holds_plain_strings() -> None:
    """YAML's safe dumper knows no subclass of `str`."""
    assert (
        yaml.safe_dump(Body(dataset=DatasetRef("a", 1)).model_dump()) == "also: ''\ndataset: a@1\n"
    )


@given(NAMES, VERSIONS)
def test_a_reference_can_be_copied_and_pickled(name: str, version: int) -> None:
    ref = DatasetRef(name, version)
    assert copy.deepcopy(ref) == pickle.loads(pickle.dumps(ref)) == ref
    assert copy.deepcopy(ref).version == version


@pytest.mark.parametrize(
    ("text", "fits"), [("a", True), ("a@3", True), ("a@b", False), ("", False)]
)
def test_the_schema_tells_the_form(text: str, fits: bool) -> None:
    schema = Body.model_json_schema()["properties"]["dataset"]
    assert bool(re.search(schema["pattern"], text)) == fits
