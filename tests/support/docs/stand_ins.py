"""What stands in for what a reader has, page by page.

`STAND_INS` replaces words of a page's blocks: placeholders, what is on a network that tests do not
have, and paths. A word that a page no longer names fails its test. `PREPARATIONS` makes files and
rows that a page takes for given, `BEFORE` changes a file before one command is typed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import yaml

from tests.support.caption_platform import register_model
from tests.support.datasets.published_benchmarks import pope
from tests.support.datasets.samples import image
from tests.support.docs.blocks import blocks_of
from tests.support.embedded_platform import images, submitted
from tests.support.paths import REPOSITORY
from tests.support.runs.instant_jobs import WEIGHTS
from tests.support.runs.stepped_platform import recipe
from vila2.recipes.recipe import load_recipe

if TYPE_CHECKING:
    from tests.support.docs.pages import Page

STAND_INS: dict[str, dict[str, str]] = {
    "README.md": {
        "HuggingFaceTB/SmolVLM-256M-Instruct": "{tiny}",
        "IMAGES": "{folder}/images",
        "QA": "{world}/sft",
        "TEST": "{world}/test",
        "sft=300,test=300": "sft=4,test=4",
        # "then set its data and benchmarks to your names"
        "show photos > mine.yaml": "show photos | sed 's/photos-/mine-/; s/pretrain: photos/"
        "pretrain: mine/' > mine.yaml",
    },
    "docs/benchmarks.md": {"POPE/coco": "{folder}", "val2014": "{folder}/val2014",
                           "MODEL": "{model}"},
    "docs/captioning.md": {},
    "docs/command-line.md": {"/data/vila2": "{root}/.vila2"},
    # No instant job has a speed.
    "docs/estimates.md": {"RUN": "{run}", "2.10": "2.10 --device cpu"},
    "docs/identity.md": {},
    "docs/models.md": {
        "./my-model": "{tiny}",
        "Qwen/Qwen3-VL-8B-Instruct": "{tiny}",
        "http://gpu7:8000/v1": "http://{address}/caption/v1",
        "--model qwen3-vl": "--model {model}",
    },
    "docs/operations.md": {"/backups": "{folder}", "NAME": "{layer}",
                           "--url URL --key KEY": "--url http://{address} --key {key}"},
    "docs/recipes.md": {},
    "docs/verdict.md": {"RUN": "{run}"},
}  # fmt: skip

RUNBOOK = {
    "/var/lib/vila2": "{root}/.vila2", "RUN": "{run}", "JOB": "{job}", "DATASET": "scenes-corpus",
    "LAYER": "{layer}", "SERVICE": "datasets", "INSTANCE": "controller:8620",
    "http://...": "http://{address}",
}  # fmt: skip
# Programs of machines that tests do not have; `docker compose logs` prints the platform's own log.
RUNBOOK_PROGRAMS = {
    "docker": '[ "$2" = logs ] && cat "$VILA2_WORKSPACE"/log*.jsonl\n'
    """echo '{"event": "an error"}'""",
    "nvidia-smi": "echo '# gpu pwr gtemp'",
    "dmesg": "echo 'killed process 1'",
}


def _readme(page: Page) -> None:
    for text in images(page.folder / "photos", count=12).glob("*.txt"):
        text.unlink()
    images(page.folder / "images", count=12, first=20)


def _benchmarks(page: Page) -> None:
    """The page's own example of questions is what is submitted."""
    pope(page.folder)
    signs = page.folder / "my-signs"
    signs.mkdir()
    (signs / "a.jpg").write_bytes(image(7, size=(90, 60), kind="JPEG"))
    (example,) = [
        b for b in blocks_of(REPOSITORY / "docs" / "benchmarks.md") if b.language == "json"
    ]
    (signs / "items.jsonl").write_text(example.text)


def _captioning(page: Page) -> None:
    """Two models with scores, of which one is deployed; instant evaluations find all right."""
    names = []
    for number in (1, 2):
        folder = page.folder / f"model-{number}"
        folder.mkdir()
        (folder / WEIGHTS).write_text(json.dumps({"quality": 1.0}))
        names.append(register_model(page.prepared.platform, folder, number=number))
    page.stand_ins["MODEL"] = names[1]
    pope(page.folder)
    page.shell.run("vila2 benchmarks add pope --from . --images val2014")
    page.shell.run(f"vila2 benchmarks run pope scenes-test --model {names[1]}")
    page.shell.run(f"vila2 endpoints deploy {names[0]}")


def _estimates(page: Page) -> None:
    """A small recipe of a preset that has run, and datasets with the names that a large one has."""
    (page.folder / "mine.yaml").write_text(yaml.safe_dump(recipe().model_dump(mode="json")))
    client, world = page.prepared.platform.client, page.prepared.root / "world"
    large = load_recipe("vila2-8b")
    for ref in large.datasets():
        split, kind = ("test", "benchmark") if ref.name in large.benchmarks else ("sft", "llava")
        submitted(client, world / split, name=ref.name, format=kind)


def _keys(page: Page) -> None:
    made = page.shell.run("vila2 keys create --role viewer --name old").split()
    page.stand_ins["3830e8a2"] = next(word for word in made if "." in word).partition(".")[0]


def _store(page: Page) -> None:
    """A piece to upload, and a dataset to exclude a sample from and to delete."""
    images(page.folder / "photos", count=4, first=16)
    page.shell.run("vila2 datasets submit photos --name street-photos")
    page.shell.run("vila2 export scenes-corpus parquet --format parquet --text original")
    (found,) = sorted((page.folder / "parquet").rglob("*.parquet"))[:1]
    (page.folder / "piece").write_bytes(found.read_bytes())


PREPARATIONS: dict[str, Callable[[Page], None]] = {
    "README.md": _readme,
    "docs/benchmarks.md": _benchmarks,
    "docs/captioning.md": _captioning,
    "docs/estimates.md": _estimates,
    "docs/identity.md": _keys,
    "docs/store.md": _store,
}
