"""REST models of models that come from elsewhere: weights, object stores, endpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vila2.schemas.endpoint_model import EndpointModel
from vila2.schemas.rest.base import Body, Count, Model
from vila2.schemas.rest.examples import DIGEST, example

ImportState = Literal["uploading", "waiting", "working", "ready", "failed"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Weights are safetensors; of the rest, what tokenizers, processors and templates are written in.
WEIGHTS = ".safetensors"
SUFFIXES = (WEIGHTS, ".json", ".txt", ".model", ".jinja", ".tiktoken")
PIECE_BYTES = 64 * 1024 * 1024


class WeightFile(Body):
    """A file of a model, as it will be sent."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_\-][A-Za-z0-9._\-]{0,150}$", examples=["model.safetensors"]
    )
    bytes: int = Field(ge=1, lt=2**50)
    sha256: Sha256

    @property
    def pieces(self) -> int:
        """In how many pieces it is sent."""
        return -(-self.bytes // PIECE_BYTES)


class Origin(Body):
    """Where weights come from, for the record: it is told, not checked."""

    kind: Literal["directory", "hub", "objects"]
    name: str = Field(max_length=500, description="A path, a repository, or s3://SOURCE/PREFIX.")
    revision: str = Field("", max_length=100, description="Of a repository: the commit.")
    licence: str = Field("", max_length=200)


class ModelIn(Body):
    """A model to register: weights that are sent next, those in an object store, or an endpoint."""

    model_config = example(
        name="qwen3-vl",
        endpoint={"url": "http://gpu7:8000/v1", "model": "Qwen/Qwen3-VL-8B-Instruct"},
    )

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,59}$", description="Under which it can be asked for."
    )
    files: list[WeightFile] = Field([], max_length=2000, description="Weights that will be sent.")
    objects: str = Field(
        "",
        pattern=r"^(s3://[a-z0-9-]+/[A-Za-z0-9._/-]+)?$",
        description="s3://SOURCE/PREFIX: weights in a source that the operator has set up.",
    )
    endpoint: EndpointModel | None = Field(None, description="A model that is served elsewhere.")
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
    """Pieces of a file that were not received yet, numbered from 0."""

    name: str
    pieces: list[Count]


_IMPORT: dict[str, Any] = {
    "id": "import-0a1b2c3d4e5f",
    "name": "qwen3-vl",
    "state": "ready",
    "model": "qwen3-vl-1f0e3dad-2b6c",
}


class ModelImport(Model):
    """A model on its way into the registry.

    Weights are sent in pieces, then the import is finished: the files are checked, the model is
    loaded, and it is registered once it has answered a question about an image.
    """

    model_config = example(**_IMPORT)

    id: str
    name: str
    state: ImportState
    phase: str = Field("", description="What is done at present.")
    model: str = Field("", description="The registered model's full name, once it is ready.")
    answer: str = Field("", description="What the model answered to the test image.")
    error: str = Field("", description="Why it failed.")
    missing: list[MissingPieces] = Field([], description="Of weights: what is still to be sent.")
    sha256: str = Field("", description="Of the weights, known once they are complete.")


class ModelOrigin(Model):
    """What is recorded of a model that comes from elsewhere."""

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
    bytes: int = Field(0, description="Of the weights.")
    dtype: str = Field("", description="Of most weights.")
    digest: str = ""
    endpoint: EndpointModel | None = None
