"""How models are held against the gate and mirrored, from environment variables.

VILA2_SERVING_PYTHON   a Python with the transformers that serves; empty: this one
VILA2_GATE_SECONDS     how long a model may take to load and answer there
VILA2_MLFLOW_URL       an MLflow tracking server to mirror models and jobs to; empty: none
VILA2_MLFLOW_TOKEN     sent to it as a bearer token, where there is one
"""

from __future__ import annotations

import sys

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class RegistrySettings(BaseSettings):
    """The registry's choices."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    serving_python: str = ""
    gate_seconds: float = Field(600.0, gt=0)
    mlflow_url: str = ""
    mlflow_token: SecretStr = SecretStr("")

    @property
    def interpreter(self) -> str:
        """The Python that stands for the serving environment."""
        return self.serving_python or sys.executable
