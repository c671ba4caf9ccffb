"""What a team does with a platform in containers: submit datasets, run a recipe, read the report.

    python -m tests.support.containers.drive URL KEY FOLDER

Prints a line at each step, then `finished`; whatever goes wrong is raised. The folder gets the
report and, as JSON, what the run came to.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tests.support.runs.demo_run import SIZES, small_recipe
from tests.support.runs.outcome import outcome
from vila2.cli.platform import DEMO_DATASETS
from vila2.client import Client
from vila2.client.submit import submit
from vila2.scenes.datasets import write_world
from vila2.schemas.rest.controller import RunIn

SECONDS = 2400


def main(url: str, key: str, folder: str) -> None:
    """Drive the small recipe to its end."""
    client = Client.connect(url, key=key)
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {what}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        world = Path(name)
        write_world(world, sizes=SIZES, seed=0)
        for name, (split, format) in DEMO_DATASETS.items():
            version = submit(client, world / split, name=name, format=format)
            assert version.state == "ready", version.error
            tell(f"dataset {name}: {version.samples} samples")
    name = f"compose-{uuid.uuid4().hex[:6]}"  # its layers and models are found by it
    run = client.controller.start_run(RunIn(recipe={**small_recipe(), "controls": []}, name=name))
    said = ""
    while run.state == "running":
        assert time.monotonic() - began < SECONDS, f"not finished: {run.phase}"
        now = f"{run.rounds[-1].name}: {run.phase}" if run.rounds else run.phase
        if now != said:
            tell(now)
            said = now
        time.sleep(2)
        run = client.controller.run(run.id)
    assert run.state == "finished", run.error
    for held in run.rounds:
        tell(f"{held.name}: {(held.verdict or {}).get('kind', 'no verdict')}")
    report = client.controller.report_html(run.id)
    (Path(folder) / "report.html").write_text(report)
    tell(f"report: {len(report)} characters")
    made = outcome(client, run.id)
    made["jobs"] = sorted(map(str, made["jobs"].elements()))
    (Path(folder) / "outcome.json").write_text(json.dumps(made))
    print("finished", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
