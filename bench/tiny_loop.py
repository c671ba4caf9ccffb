"""Every arm of the tiny loop over several seeds: the table of docs/results.md.

    python bench/tiny_loop.py --seeds 0 1 2 --workspace .bench

All seeds use the same generated world (images, alt-text, benchmark), which has its own seed. Each
seed trains one base, which all its arms share. The `tiny` recipe runs through the real services
with every control:

- `clean`: the corpus's true captions instead of round 1's, as an upper bound. Only this program
  reads the true captions;
- `shuffled`: round 1's captions, each assigned to another image;
- `no-recaption`: the original captions, with the steps of the whole loop spent in pretraining;
- `long-sft`: the original captions, with the steps of round 1 spent in SFT;
- `same-steps`: the best round's captions and the specialists' steps, but no specialist data;
- `specialist-data`: as before, with the specialists' data directly in SFT, visited as often.

Scores are on the test split, which was not used to choose the recipe. Intervals are paired
bootstraps over seeds and images. An existing workspace is resumed.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.controller.loop.judging import outcomes_of
from services.platform.embedded import EmbeddedPlatform
from vila2.cli.platform import DEMO_DATASETS
from vila2.client.submit import submit
from vila2.evaluation.outcomes import item_scores
from vila2.evaluation.statistics.bootstrap import (
    Interval,
    paired_difference,
    paired_difference_over_seeds,
)
from vila2.recipes.recipe import ControlRecipe, Recipe, load_recipe
from vila2.scenes.datasets import WorldSizes, true_captions, write_world
from vila2.schemas.rest.controller import RunIn
from vila2.schemas.rest.datasets import LayerImport

WORLD_SEED = 2026  # used by no other program, so its test split is unseen
TEST_IMAGES = 500  # more than in the demo, for narrower intervals
GENERAL = ("caption", "vqa")
SKILLS = ("ocr", "spatial", "grounding")
CLEAN_LAYER = "clean"
CONTROLS = (
    ControlRecipe(
        name="clean", says="true captions: an upper bound", captions="layer", layer=CLEAN_LAYER
    ),
    ControlRecipe(
        name="long-sft",
        says="original captions, round 1's steps in SFT",
        extra_steps="first-round",
        put_into="sft",
    ),
    ControlRecipe(
        name="same-steps",
        says="best captions and the specialists' steps, no specialist data",
        captions="best",
        extra_steps="specialists",
        put_into="sft",
    ),
    ControlRecipe(
        name="specialist-data",
        says="best captions, the specialists' data straight in SFT",
        captions="best",
        extra_steps="specialists",
        put_into="sft",
        specialist_data=True,
    ),
)
Scores = dict[str, dict[str, dict[str, float]]]  # round -> benchmark -> item -> score


def recipe_of(seed: int, *, general_only: bool) -> Recipe:
    """The tiny recipe with every control; `general_only` stops after round 1's controls."""
    tiny = load_recipe("tiny")
    content = {
        **tiny.model_dump(),
        "seed": seed,
        "controls": [c.model_dump() for c in (*tiny.controls, *CONTROLS)],
    }
    if general_only:
        kept = [
            c for c in content["controls"] if c["name"] not in ("same-steps", "specialist-data")
        ]
        content |= {"controls": kept, "specialists": [], "specialised": None}
        content["rounds"] = {**content["rounds"], "maximum": 1}
    return Recipe.model_validate(content)


def write_clean(world: Path, sizes: WorldSizes) -> Path:
    """Write the corpus's images with their true captions as a separate dataset."""
    folder = world / "clean"
    if not (folder / "captions.csv").exists():
        folder.mkdir(parents=True, exist_ok=True)
        truth = true_captions(sizes=sizes, seed=WORLD_SEED)
        for name in truth:
            shutil.copy(world / "corpus" / name, folder / name)
        with (folder / "captions.csv").open("w", newline="") as out:
            table = csv.writer(out)
            table.writerow(["image", "caption"])
            table.writerows(truth.items())
    return folder


def run_seed(seed: int, workspace: Path, *, general_only: bool) -> tuple[Scores, float]:
    """Run all arms of one seed that are not done; returns their scores and the seconds."""
    sizes = WorldSizes(test=TEST_IMAGES)
    world = workspace.parent / "world"
    write_world(world, sizes=sizes, seed=WORLD_SEED)
    recipe = recipe_of(seed, general_only=general_only)
    with EmbeddedPlatform(workspace) as platform:
        client = platform.client
        for name, (split, format) in DEMO_DATASETS.items():
            submit(client, world / split, name=name, format=format)
        submit(client, write_clean(world, sizes), name="scenes-clean", format="folder")
        client.datasets.import_layer(
            LayerImport(name=CLEAN_LAYER, dataset="scenes-corpus", from_dataset="scenes-clean")
        )
        run = client.controller.start_run(
            RunIn(recipe=recipe.model_dump(mode="json")), f"bench:{recipe.digest()}"
        )
        while run.state == "running":
            time.sleep(5)
            run = client.controller.run(run.id)
            print(f"seed {seed}: {run.progress.fraction:.0%} {run.phase}", flush=True)
        if run.state != "finished":
            raise SystemExit(f"seed {seed}: the run {run.state}: {run.error}")
        scores = {
            held.name: {
                name: dict(items)
                for name, items in item_scores(outcomes_of(client, held.jobs[1])).items()
            }
            for held in run.rounds
            if held.scores
        }
        return scores, run.finished_at - run.created_at


def mean(scores: Scores, arm: str, benchmarks: Sequence[str]) -> float:
    """Macro average of an arm over some benchmarks."""
    held = scores[arm]
    return sum(sum(held[b].values()) / len(held[b]) for b in benchmarks) / len(benchmarks)


def difference(
    seeds: Sequence[Scores], arm: str, other: str, benchmarks: Sequence[str]
) -> Interval:
    """Paired difference of two arms over seeds and items, with equal weight per benchmark."""

    def weighted(scores: Scores, name: str) -> Mapping[str, float]:
        held = scores[name]
        total = sum(len(held[b]) for b in benchmarks)
        return {
            f"{b}/{item}": value * total / (len(held[b]) * len(benchmarks))
            for b in benchmarks
            for item, value in held[b].items()
        }

    pairs = [(weighted(s, other), weighted(s, arm)) for s in seeds]
    return paired_difference(*pairs[0]) if len(pairs) == 1 else paired_difference_over_seeds(pairs)


def table(seeds: Sequence[Scores]) -> str:
    """Markdown: arms by benchmarks (mean over seeds, half the range), then the claims."""
    arms = list(dict.fromkeys(arm for scores in seeds for arm in scores))
    head = ["arm", "seeds", "general", *GENERAL, *SKILLS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for arm in arms:
        held = [scores for scores in seeds if arm in scores]
        cells = [str(len(held))]
        for group in (GENERAL, *((b,) for b in (*GENERAL, *SKILLS))):
            values = [mean(scores, arm, group) for scores in held]
            spread = f" ±{(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
            cells.append(f"{sum(values) / len(values):.3f}{spread}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    best = max((a for a in arms if a.startswith("round ")), key=lambda a: int(a.split()[1]))
    claims = [
        ("clean", "round 1", GENERAL),
        *(("round 1", o, GENERAL) for o in ("round 0", "no-recaption", "long-sft", "shuffled")),
        *((best, o, GENERAL) for o in ("round 1", "no-recaption") if best != "round 1"),
        *(
            ("specialists", o, (skill,))
            for skill in SKILLS
            for o in (best, "same-steps", "specialist-data")
        ),
    ]
    lines += ["", "| claim | on | seeds | difference | 95 % interval | holds |", "|---" * 6 + "|"]
    for arm, other, group in claims:
        both = [scores for scores in seeds if arm in scores and other in scores]
        if not both:
            continue
        interval = difference(both, arm, other, group)
        holds = "yes" if interval.low > 0 else "no"
        lines.append(
            f"| {arm} > {other} | {'general' if len(group) > 1 else group[0]} | {len(both)} | "
            f"{interval.mid:+.3f} | {interval.low:+.3f} to {interval.high:+.3f} | {holds} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the seeds one after another and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workspace", type=Path, default=Path(".bench"))
    parser.add_argument(
        "--general-only",
        type=int,
        nargs="*",
        default=[],
        metavar="SEED",
        help="seeds for which to stop after round 1 and its controls: a third of the time",
    )
    options = parser.parse_args()
    results: list[Scores] = []
    for seed in options.seeds:
        scores, seconds = run_seed(
            seed,
            options.workspace / f"seed-{seed}",
            general_only=seed in options.general_only,
        )
        (options.workspace / f"scores-{seed}.json").write_text(json.dumps(scores))
        print(f"seed {seed} took {seconds / 60:.1f} minutes")
        results.append(scores)
        text = table(results)
        (options.workspace / "table.md").write_text(text + "\n")
        print(text, flush=True)


if __name__ == "__main__":
    main()
