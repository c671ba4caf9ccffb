"""The run recipe: one validated YAML with every setting of a run.

A recipe's hash covers every value that affects the result, so two runs with the same hash differ
only in their data. Each field has a description, and `cites` gives the sources of values. `vila2
recipes show` prints a recipe to copy; with `--explain` it also prints descriptions and sources.
"""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from vila2.recipes.errors import explain, line_numbers, repeated_keys
from vila2.schemas.assembly import Assembly
from vila2.schemas.base import Strict
from vila2.schemas.canonical import canonical_json
from vila2.schemas.recipe_parts import (
    SELF_LAYER,
    STAGES,
    BaseRecipe,
    BudgetRecipe,
    CaptionRecipe,
    ControlRecipe,
    DataRecipe,
    ModelRecipe,
    RoundsRecipe,
    Slug,
    SpecialistRecipe,
    StageName,
    StageRecipe,
)
from vila2.schemas.refs import DatasetRef
from vila2.schemas.sampling import Gate, Sampling
from vila2.schemas.stages import Execution

__all__ = [
    "SELF_LAYER",
    "STAGES",
    "BaseRecipe",
    "BudgetRecipe",
    "CaptionRecipe",
    "ControlRecipe",
    "DataRecipe",
    "Execution",
    "Gate",
    "ModelRecipe",
    "Recipe",
    "RecipeError",
    "RoundsRecipe",
    "Sampling",
    "SpecialistRecipe",
    "StageName",
    "StageRecipe",
    "explain",
    "load_recipe",
    "parse_recipe",
    "recipe_text",
    "shipped_recipes",
]  # fmt: skip

# Increase when a default changes, so that the hash of recipes that rely on it changes too.
DEFAULTS = 1


class Recipe(Strict):
    """All settings of a run."""

    name: Slug = Field(description="Name of the recipe, and of runs that are not given a name.")
    description: str = Field("", description="One sentence, shown in lists.")
    seed: int = Field(0, description="Seed of initial weights, data order, captions and verdicts.")
    model: ModelRecipe = Field(description="The model to train.")
    data: DataRecipe = Field(description="The training data.")
    stages: dict[StageName, StageRecipe] = Field(
        description="The three training stages of every generalist."
    )
    baseline: Assembly = Field(
        Assembly(policy="original"), description="How round 0 assembles its pretraining text."
    )
    recaption: Assembly = Field(description="How rounds 1, 2, ... assemble their pretraining text.")
    specialised: Assembly | None = Field(
        None, description="How the specialist round assembles its text."
    )
    captioning: CaptionRecipe = Field(description="How a round captions the data.")
    rounds: RoundsRecipe = Field(
        RoundsRecipe(), description="Number of rounds, and when the loop stops."
    )
    specialists: list[SpecialistRecipe] = Field(
        default_factory=list,
        description="Specialists that recaption by task after the loop; may be empty.",
    )
    specialist_data_in_sft: bool = Field(
        False,
        description="The specialist round's SFT also uses the specialists' own data, as many "
        "times as their finetuning did. Its controls get the same number of "
        "additional visits.",
    )
    controls: list[ControlRecipe] = Field(
        default_factory=list, description="Additional models trained for comparison."
    )
    benchmarks: list[DatasetRef] = Field(min_length=1, description="Benchmark datasets, by name.")
    audit_words: int = Field(
        64,
        ge=8,
        description="The report measures lexical diversity within this many words of every "
        "caption, the same in each round, so that longer captions do not score "
        "higher.",
    )
    training: Execution = Field(Execution(), description="How training jobs are run.")
    budget: BudgetRecipe = Field(BudgetRecipe(), description="Limits that end the run early.")
    cites: dict[str, str] = Field(
        default_factory=dict,
        description="Field -> source of its value: `section N` or `Table N` of the paper, or "
        "`choice: WHY`. Applies to all fields below it too. Has no effect on the "
        "run and is not hashed.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if set(self.stages) != set(STAGES):
            raise ValueError(f"stages must be exactly {', '.join(STAGES)}")
        if SELF_LAYER not in self.recaption.layers():
            raise ValueError(
                f"recaption.caption_layer must be {SELF_LAYER!r}: the layer that the round makes"
            )
        for field in ("baseline", "recaption", "specialised"):
            text: Assembly | None = getattr(self, field)
            if text is not None and text.p < 1 and not _mixes(text):
                raise ValueError(
                    f"{field}.p has no effect here: leave it out, or use policy mix, concat or "
                    "qa_turns with a caption_layer"
                )
            if text is not None and text.also_layers:
                raise ValueError(
                    f"{field}.also_layers is filled in by the run: set captioning.accumulate"
                )
        names = [specialist.name for specialist in self.specialists]
        if len(set(names)) != len(names):
            raise ValueError("specialists: each may be named once")
        if self.specialists and self.specialised is None:
            raise ValueError("specialised must be set where there are specialists")
        if len({control.name for control in self.controls}) != len(self.controls):
            raise ValueError("controls: each name may be used once")
        uses_specialists = any(
            c.specialist_data or c.extra_steps == "specialists" for c in self.controls
        )
        if uses_specialists and not self.specialists:
            raise ValueError("a control uses the specialists' data, but there are none")
        self._check_cites()
        if self.training.cache_features and any(
            "vision" in stage.trainable for stage in self._all_stages()
        ):
            raise ValueError(
                "training.cache_features needs a frozen tower: take `vision` out of every "
                "stage's `trainable`, or set cache_features to false"
            )
        return self

    def _all_stages(self) -> list[StageRecipe]:
        base = [self.model.base.stage] if self.model.base.stage else []
        return [*base, *self.stages.values(), *(s.stage for s in self.specialists)]

    def _check_cites(self) -> None:
        paths = known_paths(self)
        for path, citation in self.cites.items():
            if path not in paths:
                raise ValueError(f"cites.{path}: the recipe has no such field; correct its path")
            if not CITATION.fullmatch(citation):
                raise ValueError(
                    f"cites.{path}: begin with `section N`, `Table N` or `choice: WHY`"
                )

    def digest(self) -> str:
        """The recipe hash: 16 hex digits over every value except the citations.

        Values equal to their defaults are omitted, so that a field added in a later version changes
        no hash; `DEFAULTS` represents them.
        """
        values = self.model_dump(mode="json", exclude={"cites"}, exclude_defaults=True)
        return hashlib.sha256(canonical_json({"defaults": DEFAULTS, **values})).hexdigest()[:16]

    def training_seeds(self) -> list[int]:
        """Seeds of each round's models; the first seed's model captions for the next round."""
        return [self.seed + number for number in range(self.rounds.seeds)]

    def datasets(self) -> list[DatasetRef]:
        """Names of all datasets that a run needs, without duplicates, in order of use."""
        named = [self.model.base.dataset, self.data.align, self.data.pretrain]
        named += [*self.data.pretrain_also, self.data.sft]
        named += [specialist.dataset for specialist in self.specialists]
        named += self.benchmarks
        return [DatasetRef.parse(name) for name in dict.fromkeys(named) if name]


def _mixes(text: Assembly) -> bool:
    return text.policy in ("mix", "concat", "qa_turns") and bool(text.caption_layer)


CITATION = re.compile(r"(section [0-9A]|Table [0-9]+|choice: ).*")


def known_paths(value: Any, prefix: str = "") -> set[str]:
    """Dotted paths of all values in a recipe; a list item goes by its name, if it has one."""
    if isinstance(value, BaseModel):
        inner = {name: getattr(value, name) for name in type(value).model_fields}
    elif isinstance(value, dict):
        inner = value
    elif isinstance(value, list):
        inner = {item.name: item for item in value if hasattr(item, "name")}
    else:
        return set()
    found: set[str] = set()
    for name, below in inner.items():
        found |= {f"{prefix}{name}"} | known_paths(below, f"{prefix}{name}.")
    return found


class RecipeError(ValueError):
    """A recipe that cannot be read; the message names file, field and fix."""


def shipped_recipes() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("vila2") / "recipes"
    return sorted(e.name.removesuffix(".yaml") for e in folder.iterdir() if e.name.endswith("yaml"))


def load_recipe(name_or_path: str) -> Recipe:
    """Load a recipe by shipped name (`tiny`, `recipes/tiny.yaml`) or from a file."""
    return parse_recipe(recipe_text(name_or_path), source=name_or_path)


def recipe_text(name_or_path: str) -> str:
    """The YAML text of a recipe, by shipped name or path."""
    path = Path(name_or_path)
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(f"recipe {path} is not text in UTF-8: save it as such") from error
    short = name_or_path.removeprefix("recipes/").removesuffix(".yaml")
    if short in shipped_recipes():
        return (resources.files("vila2") / "recipes" / f"{short}.yaml").read_text()
    raise RecipeError(
        f"no recipe {name_or_path!r}: give a file, or one of {', '.join(shipped_recipes())}"
    )


def parse_recipe(text: str, *, source: str) -> Recipe:
    """Validate a recipe's YAML; raises `RecipeError`, which names every wrong field and its fix."""
    try:
        content: Any = yaml.safe_load(text)
        twice = repeated_keys(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {source} is not YAML: {error}") from error
    if twice:
        raise RecipeError(f"recipe {source}: {'; '.join(twice)}: leave one of them")
    if not isinstance(content, dict):
        raise RecipeError(f"recipe {source} is empty or not a mapping: start from `tiny`")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        told = explain(error, schema=Recipe.model_json_schema(), lines=line_numbers(text))
        raise RecipeError(f"recipe {source}:\n{told}") from error
