"""The shipped recipes: valid, stable, and each value with its source."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from vila2.recipes.fields import REQUIRED, citation_of, differences, fields_of, schema
from vila2.recipes.recipe import (
    DEFAULTS,
    Recipe,
    RecipeError,
    known_paths,
    load_recipe,
    parse_recipe,
    recipe_text,
    shipped_recipes,
)
from vila2.schemas.sampling import Gate

# A change here is a change of what a run of that name does: say so in the changelog.
HASHES = {
    "beyond": "5630925d878d5066",
    "photos": "132b72bb5138db1b",
    "tiny": "b4ce682111ab9ab5",
    "vila2-40b": "1c28dd636d648a1c",
    "vila2-8b": "40724277f44dfa9f",
}
# What earlier recipes relied on. A default that changes needs a higher `DEFAULTS`.
RELIED_ON = {
    "captioning.accumulate": False, "captioning.gate.attempts": 3,
    "captioning.gate.max_repeats": 4, "captioning.gate.max_words": 400,
    "captioning.gate.min_consistency": None, "captioning.gate.min_words": 1,
    "captioning.gate.retry_temperature": 0.7, "captioning.keep_by": "logprob",
    "captioning.keep_fraction": 1.0, "captioning.sampling.temperature": 0.0,
    "captioning.sampling.top_p": 1.0, "recaption.p": 1.0, "rounds.confidence": 0.95,
    "rounds.maximum": 3, "rounds.minimum_effect": 0.0, "rounds.patience": 1, "rounds.seeds": 1,
    "seed": 0,
    "stages.align.lora": None, "stages.align.pack": 0, "stages.align.turns_per_visit": 0,
    "training.activation_checkpointing": False, "training.parallel": "ddp",
    "training.precision": "fp32", "training.processes": 1, "training.threads": 1,
}  # fmt: skip
SECTIONS = {
    "1", "2", "2.1", "2.1.1", "2.2", "2.2.1", "3", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "4",
    "5", "A.1", "A.2", "A.3", "A.4", "A.5", "A.5.1", "A.5.2", "A.6", "A.7",
}  # fmt: skip
TABLES = {str(number) for number in range(1, 14)}
CITED = ("beyond", "vila2-40b", "vila2-8b")


def test_every_shipped_recipe_keeps_its_hash() -> None:
    assert {name: load_recipe(name).digest() for name in shipped_recipes()} == HASHES


def test_defaults_that_hashes_rely_on_are_what_they_were() -> None:
    assert DEFAULTS == 1
    defaults = {view.path: view.default for view in fields_of(load_recipe("tiny"))}
    assert {path: defaults[path] for path in RELIED_ON} == RELIED_ON


def test_a_citation_changes_no_hash_and_any_other_value_does() -> None:
    tiny = load_recipe("tiny")
    cited = tiny.model_copy(update={"cites": {"seed": "choice: none"}})
    assert cited.digest() == tiny.digest()
    for view in fields_of(tiny):
        if view.path in ("seed", "audit_words"):
            changed = tiny.model_copy(update={view.path: view.value + 1})
            assert changed.digest() != tiny.digest()


def test_a_value_that_is_spelt_out_hashes_as_the_default_that_it_is() -> None:
    text = recipe_text("tiny")
    spelt = parse_recipe(f"{text}\naudit_words: 64\nbudget: {{gpu_hours: null}}\n", source="x")
    assert spelt.digest() == load_recipe("tiny").digest()


@pytest.mark.parametrize("name", CITED)
def test_every_value_of_the_papers_recipes_is_cited(name: str) -> None:
    recipe = load_recipe(name)
    uncited = [view.path for view in fields_of(recipe) if not view.citation]
    assert uncited == []


@pytest.mark.parametrize("name", CITED)
def test_cited_sections_and_tables_are_in_the_paper(name: str) -> None:
    for path, citation in load_recipe(name).cites.items():
        sections = re.findall(r"[Ss]ections? ((?:A\.)?\d+(?:\.\d+)*)", citation)
        tables = re.findall(r"Table (\d+)", citation)
        assert set(sections) <= SECTIONS, path
        assert set(tables) <= TABLES, path
        assert sections or tables or citation.startswith("choice: "), path


def test_the_8b_recipe_is_the_papers_table_13() -> None:
    stages = load_recipe("vila2-8b").stages
    assert [stages[name].lr for name in ("align", "pretrain", "sft")] == [1e-3, 5e-5, 2e-5]
    assert {stage.batch_size for stage in stages.values()} == {1024}
    visits = {name: stage.steps * stage.batch_size for name, stage in stages.items()}
    for name, samples in {"align": 595e3, "pretrain": 51e6, "sft": 5.9e6}.items():
        assert visits[name] == pytest.approx(samples, rel=1e-3)


def test_a_citation_of_a_field_that_is_not_there_is_refused() -> None:
    text = recipe_text("tiny") + '\ncites: {rounds.maximun: "Table 3"}\n'
    with pytest.raises(RecipeError, match=r"cites\.rounds\.maximun: the recipe has no such field"):
        parse_recipe(text, source="mine.yaml")


def test_a_citation_without_a_place_or_a_reason_is_refused() -> None:
    text = recipe_text("tiny") + '\ncites: {rounds.maximum: "the paper says so"}\n'
    with pytest.raises(RecipeError, match="begin with `section N`"):
        parse_recipe(text, source="mine.yaml")


def test_seeds_are_the_recipes_own_and_those_after_it() -> None:
    tiny = load_recipe("tiny")
    assert tiny.training_seeds() == [tiny.seed]
    several = parse_recipe(
        recipe_text("tiny").replace("patience: 1}", "patience: 1, seeds: 3}"), source="x"
    )
    assert several.training_seeds() == [0, 1, 2]
    assert [path for path, _, _ in differences(tiny, several)] == ["rounds.seeds"]


def test_one_seed_spelt_out_changes_no_hash_and_several_do() -> None:
    tiny = load_recipe("tiny")

    def digest(seeds: int) -> str:
        rounds = tiny.rounds.model_copy(update={"seeds": seeds})
        return tiny.model_copy(update={"rounds": rounds}).digest()

    assert digest(1) == tiny.digest() != digest(2)


@pytest.mark.parametrize(("seeds", "fix"), [(0, "at least 1"), (65, "at most 64")])
def test_a_number_of_seeds_that_no_job_takes_is_refused(seeds: int, fix: str) -> None:
    text = recipe_text("tiny").replace("patience: 1}", f"patience: 1, seeds: {seeds}}}")
    with pytest.raises(RecipeError, match=rf"rounds\.seeds: is {seeds}.*{fix}"):
        parse_recipe(text, source="mine.yaml")


@pytest.mark.parametrize("name", shipped_recipes())
def test_explain_covers_every_field_and_describes_it(name: str) -> None:
    recipe = load_recipe(name)
    shown = {view.path for view in fields_of(recipe)}
    leaves = {p for p in known_paths(recipe) if not p.startswith("cites")}
    missing = {p for p in leaves if not any(s == p or s.startswith(f"{p}.") or p.startswith(f"{s}.")
                                            for s in shown)}  # fmt: skip
    assert missing == set()
    assert [view.path for view in fields_of(recipe) if not view.description] == []


def test_the_citation_of_a_field_is_the_nearest_one() -> None:
    cites = {"stages": "Table 13", "stages.sft.lr": "choice: other"}
    assert citation_of("stages.sft.lr", cites) == "choice: other"
    assert citation_of("stages.sft.steps", cites) == "Table 13"
    assert citation_of("rounds.maximum", cites) == ""


def test_a_required_field_has_no_default() -> None:
    by_path = {view.path: view for view in fields_of(load_recipe("tiny"))}
    assert by_path["data.pretrain"].default == REQUIRED
    assert not by_path["rounds.confidence"].changed


def test_diff_names_what_differs_and_nothing_else() -> None:
    tiny = load_recipe("tiny")
    other = tiny.model_copy(update={"rounds": tiny.rounds.model_copy(update={"patience": 2})})
    assert differences(tiny, other) == [("rounds.patience", 1, 2)]
    assert differences(tiny, tiny) == []


def test_diff_shows_a_specialist_that_only_one_recipe_has() -> None:
    tiny = load_recipe("tiny")
    fewer = tiny.model_copy(update={"specialists": tiny.specialists[:-1]})
    assert all(path.startswith("specialists.grounding") for path, _, _ in differences(tiny, fewer))


def described(content: Any, model: dict[str, Any], defs: dict[str, Any]) -> bool:
    """Whether the schema has a property for every key of the content, at every depth."""
    if "$ref" in model:
        model = defs[model["$ref"].rpartition("/")[2]]
    options = model.get("anyOf", [])
    if options:
        return any(described(content, option, defs) for option in options)
    if isinstance(content, dict) and "properties" in model:
        known = model["properties"]
        return set(content) <= set(known) and all(
            described(value, known[key], defs) for key, value in content.items()
        )
    if isinstance(content, dict):
        inner = model.get("additionalProperties", {})
        return model.get("type") == "object" and all(
            described(value, inner, defs) for value in content.values()
        )
    if isinstance(content, list):
        return model.get("type") == "array" and all(
            described(item, model.get("items", {}), defs) for item in content
        )
    return True


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_schema_describes_every_shipped_recipe(name: str) -> None:
    made = schema()
    content = load_recipe(name).model_dump(mode="json")
    assert described(content, made, made["$defs"])
    assert not described({**content, "roundz": 1}, made, made["$defs"])
    assert Recipe.model_validate(content) == load_recipe(name)


def test_every_wrong_field_is_named_with_its_line_and_its_fix() -> None:
    text = recipe_text("photos")
    wrong = text.replace("maximum: 2", "maximum: 0").replace("precision: bf16", "precision: fp8")
    wrong = wrong.replace("temperature: 0.0", "temprature: 0.0")
    with pytest.raises(RecipeError) as refused:
        parse_recipe(wrong, source="mine.yaml")
    lines = str(refused.value).splitlines()
    assert len(lines) == 4
    number = 1 + wrong.splitlines().index("rounds: {maximum: 0, patience: 1}")
    assert f"  line {number}, rounds.maximum: is 0; set it to at least 1" in lines
    assert any("did you mean `temperature`?" in line for line in lines)
    assert any("is 'fp8'; use one of 'fp32' or 'bf16'" in line for line in lines)


def test_a_gate_that_no_caption_can_pass_is_refused() -> None:
    """It would spend the whole captioning and quarantine everything."""
    recipe = load_recipe("tiny").model_dump(mode="json")
    recipe["captioning"]["gate"] = {"min_words": 10, "max_words": 2}
    with pytest.raises(ValidationError, match="no caption would pass"):
        Recipe.model_validate(recipe)
    with pytest.raises(ValidationError, match="no caption would pass"):
        Gate(min_words=10, max_words=2)


def test_field_models_are_closed() -> None:
    """A key that nothing obeys can be in no part of a recipe."""
    made = schema()
    assert made["additionalProperties"] is False
    parts = [part for part in made["$defs"].values() if part.get("type") == "object"]
    assert parts
    assert [part["title"] for part in parts if part.get("additionalProperties") is not False] == []
