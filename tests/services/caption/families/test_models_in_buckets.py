"""Weights in a real S3 bucket that the operator has set up as a source."""

from __future__ import annotations

from pathlib import Path

import pytest
from minio import Minio

from services.platform.embedded import EmbeddedPlatform
from tests.support.servers.seaweedfs import S3Server
from tests.support.tiny_families import build
from vila2.client import ApiError
from vila2.client.add_model import ModelRefused, add_objects


@pytest.mark.server
def test_a_model_is_added_from_a_bucket(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files alone; and what is no source, or holds no model, is refused by its name."""
    bucket = Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
    bucket.make_bucket("models")
    for path in build("Qwen3-VL", tmp_path / "model").iterdir():
        bucket.fput_object("models", f"qwen/{path.name}", str(path))
    monkeypatch.setenv("LAB_KEY", s3.access_key)
    monkeypatch.setenv("LAB_SECRET", s3.secret_key)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "sources.yaml").write_text(
        f"lab:\n  endpoint: {s3.endpoint}\n  bucket: models\n  secure: false\n"
        "  access_key_env: LAB_KEY\n  secret_key_env: LAB_SECRET\n"
    )
    with EmbeddedPlatform(workspace) as platform:
        made = add_objects(platform.client, "s3://lab/qwen", name="qwen")
        held = platform.client.training.model("qwen")
        assert (made.state, held.parent) == ("ready", "objects:s3://lab/qwen")
        assert held.origin is not None
        assert held.origin.family == "qwen3_vl"
        with pytest.raises(ModelRefused, match="holds no"):
            add_objects(platform.client, "s3://lab/empty", name="empty")
        with pytest.raises(ApiError, match="no source 'elsewhere'"):
            add_objects(platform.client, "s3://elsewhere/qwen", name="other")
