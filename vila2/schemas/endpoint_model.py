"""A model behind an OpenAI-compatible endpoint: where it answers, and what it costs."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from vila2.schemas.base import Strict

# The file that stands for the model's weights in the object store.
ENDPOINT_FILE = "vila2_endpoint.json"


class Prices(Strict):
    """What answers cost, in any one currency."""

    input: float = Field(0.0, ge=0, description="Per million prompt tokens, images included.")
    output: float = Field(0.0, ge=0, description="Per million generated tokens.")
    image: float = Field(0.0, ge=0, description="Per request, in addition.")

    @property
    def any(self) -> bool:
        """Whether anything costs something."""
        return bool(self.input or self.output or self.image)

    def of(self, *, prompt_tokens: int, tokens: int) -> float:
        """The cost of one answer."""
        return self.image + (self.input * prompt_tokens + self.output * tokens) / 1e6


class EndpointModel(Strict):
    """An address that speaks OpenAI's chat completions, and the model to ask there for."""

    url: str = Field(max_length=500, description="With its version, such as http://gpu7:8000/v1.")
    model: str = Field(min_length=1, max_length=200, description="The model's name there.")
    key_env: str = Field(
        "",
        pattern=r"^([A-Za-z_][A-Za-z0-9_]{0,99})?$",
        description="Environment variable of the services that holds the endpoint's API key.",
    )
    prices: Prices = Prices()
    concurrency: int = Field(64, ge=1, le=1024, description="Most requests at once.")
    timeout_seconds: float = Field(300.0, gt=0, le=3600, description="For one answer.")
    max_pixels: int = Field(
        2_000_000, ge=1024, le=50_000_000, description="Larger images are reduced before sending."
    )
    length_parameter: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="The name under which the endpoint takes the longest answer."
    )
    logprobs: bool = Field(True, description="Whether to ask for log-probabilities.")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it does not begin with http:// or https:// and a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("give only scheme, host, port and path; name the key by key_env")
        return url.rstrip("/")

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.lower()}"
