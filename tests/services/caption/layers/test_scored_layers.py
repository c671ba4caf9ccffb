"""A layer with scores: made by a job, kept in the layer, shown by every way out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from tests.support.caption_platform import CaptionPlatform, caption_platform
from tests.support.models.trained_captioner import TrainedCaptioner
from tests.support.servers.platform_http import served
from tests.support.waiting import until
from vila2.cli.main import app
from vila2.data.layers import CaptionRow, decode_layer_shard
from vila2.schemas.rest.caption import PreviewIn
from vila2.schemas.sampling import Gate, Sampling

HOW = {"sampling": Sampling(max_new_tokens=30)}


@pytest.fixture(scope="module")
def captioning(
    model: TrainedCaptioner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CaptionPlatform]:
    """Five foxes, and a captioner whose captions pass the checks of the text."""
    with caption_platform(tmp_path_factory.mktemp("captioning")) as made:
        made.model = made.platform.apps["training"].state.context.registry.add(
            team="local", base_name="learnt", folder=model.folder, sha256="ef" * 32,
            parent="", job="job-learnt", parameters=1, data=[],
        )  # fmt: skip
        yield made


def sealed(
    captioning: CaptionPlatform, token: str, **fields: object
) -> tuple[str, list[CaptionRow]]:
    """A finished job's layer and its rows."""
    job = captioning.client.caption.start_job(captioning.job(**{**HOW, **fields}), token)
    until(lambda: captioning.client.caption.job(job.id).state != "running", seconds=60)
    rows = [
        row
        for number in range(2)
        for row in decode_layer_shard(captioning.client.datasets.layer_content(job.layer, number))
    ]
    return job.layer, rows


def test_scores_are_in_the_layer_its_preview_its_lineage_and_on_the_screen(
    captioning: CaptionPlatform,
) -> None:
    """And the captions are those that the job makes without them."""
    _, plain = sealed(captioning, "plain")
    layer, rows = sealed(captioning, "scored", score=True)
    assert [(r.key, r.caption, r.reason) for r in rows] == [
        (r.key, r.caption, r.reason) for r in plain
    ]
    assert {row.consistency for row in plain} == {None}
    scored = {row.key: row.consistency for row in rows if not row.reason}
    assert scored
    assert None not in scored.values()
    keys = list(scored)
    preview = captioning.client.caption.preview(
        PreviewIn(keys=keys, **captioning.asked(**HOW, score=True))
    )
    made = {caption.key: caption.consistency for caption in preview.captions}
    assert made == pytest.approx(scored, abs=1e-5)
    lineage = captioning.client.datasets.lineage("foxes", 1, keys[0])
    held = {caption.layer: caption.consistency for caption in lineage.captions}
    assert held[layer] == scored[keys[0]]
    run = CliRunner(env={"COLUMNS": "200"})
    with served(captioning.platform) as url:
        where = ["--url", url, "--key", captioning.platform.key]
        shown = run.invoke(app, ["captions", "show", "foxes", "--layer", layer, *where]).output
    assert f"consistency {scored[keys[0]]:.2f}" in shown


def test_a_bound_that_nobody_reaches_quarantines_all_as_inconsistent(
    captioning: CaptionPlatform,
) -> None:
    """Those that fail on their text keep that reason."""
    _, rows = sealed(captioning, "bound", gate=Gate(attempts=2, min_consistency=99.0))
    assert len(rows) == 5
    inconsistent = [row for row in rows if row.reason == "inconsistent"]
    assert inconsistent
    assert all(row.reason for row in rows)
    assert all((row.consistency is not None, row.attempt) == (True, 1) for row in inconsistent)
