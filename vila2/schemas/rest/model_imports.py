"""REST models for adding models from elsewhere: uploads, object stores and endpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vila2.schemas.endpoint_model import EndpointModel
from vila2.schemas.rest.base import Body, Count, Model
from vila2.schemas.rest.examples import DIGEST, example

ImportState = Literal["uploading", "waiting", "working", "ready", "failed"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Weights are safetensors. The other suffixes are those of tokenizer, processor and template files.
WEIGHTS = ".safetensors"
SUFFIXES = (WEIGHTS, ".json", ".txt", ".model", ".jinja", ".tiktoken")
PIECE_BYTES = 64 * 1024 * 1024


class WeightFile(Body):
    """A model file to be uploaded."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_\-][A-Za-z0-9._\-]{0,150}$", examples=["model.safetensors"]
    )
    bytes: int = Field(ge=1, lt=2**50)
    sha256: Sha256

    @property
    def pieces(self) -> int:
        """Number of pieces in which the file is uploaded."""
        return -(-self.bytes // PIECE_BYTES)


class Origin(Body):
    """Where weights come from. Recorded as given, not checked."""

    kind: Literal["directory", "hub", "objects"]
    name: str = Field(max_length=500, description="A path, a repository, or s3://SOURCE/PREFIX.")
    revision: str = Field("", max_length=100, description="For a repository: the commit.")
    licence: str = Field("", max_length=200)


class ModelIn(Body):
    """A model to register: weights to be uploaded, weights in an object store, or an endpoint."""

    model_config = example(
        name="qwen3-vl",
        endpoint={"url": "http://gpu7:8000/v1", "model": "Qwen/Qwen3-VL-8B-Instruct"},
    )

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,59}$", description="The name used in requests."
    )
    files: list[WeightFile] = Field(
        [], max_length=2000, description="Weights that will be uploaded."
    )
    objects: str = Field(
        "",
        pattern=r"^(s3://[a-z0-9-]+/[A-Za-z0-9._/-]+)?$",
        description="s3://SOURCE/PREFIX: weights in a source that the operator has configured.",
    )
    endpoint: EndpointModel | None = Field(None, description="A model served elsewhere.")
    origin: Origin | None = Field(None, description="Where the files come from.")

    @model_validator(mode="after")
    def _one_of_them(self) -> ModelIn:
        if sum(map(bool, (self.files, self.objects, self.endpoint))) != 1:
            raise ValueError("give exactly one of files, objects and endpoint")
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError("a file is named twice")
        if self.files and not any(name.endswith(WEIGHTS) for name in names):
            raise ValueError("files: there is no *.safetensors among them")
        if other := [name for name in names if not name.endswith(SUFFIXES)]:
            raise ValueError(
                f"files: {other[0]} is neither weights (*.safetensors) nor a file of a tokenizer "
                f"or processor ({', '.join(SUFFIXES[1:])}); leave it out"
            )
        return self


class MissingPieces(Model):
    """Pieces of a file that have not been received yet, numbered from 0."""

    name: str
    pieces: list[Count]


_IMPORT: dict[str, Any] = {
    "id": "import-0a1b2c3d4e5f",
    "name": "qwen3-vl",
    "state": "ready",
    "model": "qwen3-vl-1f0e3dad-2b6c",
}


class ModelImport(Model):
    """A model that is being imported into the registry.

    Weights are uploaded in pieces, then the import is finished: the files are checked, the model is
    loaded, and it is registered once it has answered a question about a test image.
    """

    model_config = example(**_IMPORT)

    id: str
    name: str
    state: ImportState
    phase: str = Field("", description="The current step.")
    model: str = Field("", description="The registered model's full name, once it is ready.")
    answer: str = Field("", description="The model's answer about the test image.")
    error: str = Field("", description="Why it failed.")
    missing: list[MissingPieces] = Field(
        [], description="For weights: the pieces that have not been uploaded yet."
    )
    sha256: str = Field("", description="Digest of the weights; empty until they are complete.")


class ModelOrigin(Model):
    """The recorded origin of a model that was not trained here."""

    model_config = example(
        kind="hub",
        name="Qwen/Qwen3-VL-8B-Instruct",
        revision="0c351dd01ed87e9c1b53cbc748cba10e6187ff3b",
        licence="apache-2.0",
        family="qwen3_vl",
        bytes=17_534_345_688,
        dtype="BF16",
        digest=DIGEST,
    )

    kind: Literal["directory", "hub", "objects", "endpoint"]
    name: str = Field(description="A path, a repository, s3://SOURCE/PREFIX, or an address.")
    revision: str = ""
    licence: str = ""
    family: str = Field("", description="transformers' model_type; empty for an endpoint.")
    bytes: int = Field(0, description="Size of the weights.")
    dtype: str = Field("", description="The data type of most weights.")
    digest: str = ""
    endpoint: EndpointModel | None = None
