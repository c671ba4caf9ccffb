"""Evaluate a model on benchmarks: `python -m vila2.evaluation.evaluate --spec job.json`.

Every question is asked through the captioner, as the caption service asks. Writes
`outcomes.jsonl` (one line per question) and `result.json` (scores with bootstrap intervals).
Greedy decoding: an evaluation has no luck of its own.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vila2.data.images import decode
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.evaluation.cider import cider_d
from vila2.evaluation.outcomes import Outcome, benchmark_scores, write_outcomes
from vila2.evaluation.scorers import score
from vila2.evaluation.spec import EvaluateSpec
from vila2.model.captioner import Captioner, Request, Sampling
from vila2.training.progress import Progress


def evaluate(spec: EvaluateSpec, captioner: Captioner, *, progress: Progress) -> list[Outcome]:
    """Ask every question of every benchmark and score the answers, in order."""
    samples = [
        sample
        for shards in spec.benchmarks.values()
        for shard in shards
        for sample in read_shard(Path(shard))
    ]
    size = captioner.image_size
    sampling = Sampling(temperature=0.0, max_new_tokens=spec.max_new_tokens)
    asked: list[tuple[Sample, Mapping[str, Any]]] = []
    requests: list[Request] = []
    for sample in samples:
        pixels = decode(sample.image, size=(size, size))
        for item in sample.items:
            asked.append((sample, item))
            requests.append(Request(pixels, str(item["question"]), spec.seed, sampling))
    if not requests:
        raise ValueError("the benchmarks hold no question: submit them with --format benchmark")

    def report(done: int) -> None:
        progress.step(done, stage="evaluating", metrics={}, force=done == len(requests))

    progress.total(len(requests))
    answers = captioner.generate(requests, progress=report)
    return score_answers(asked, [answer.text for answer in answers])


def score_answers(
    asked: Sequence[tuple[Sample, Mapping[str, Any]]], answers: Sequence[str]
) -> list[Outcome]:
    """Score answers item by item; CIDEr-D over all its items together, as it is defined."""
    cider_items = {
        str(item["id"]): (answer, item["answers"])
        for (_, item), answer in zip(asked, answers, strict=True)
        if item["metric"] == "cider"
    }
    consensus: Mapping[str, float] = {}
    if cider_items:
        consensus = cider_d(
            {key: answer for key, (answer, _) in cider_items.items()},
            {key: references for key, (_, references) in cider_items.items()},
        ).per_item
    return [
        Outcome(
            item=str(item["id"]),
            benchmark=str(item["benchmark"]),
            kind=str(item["kind"]),
            score=(
                consensus[str(item["id"])]
                if item["metric"] == "cider"
                else score(str(item["metric"]), answer, item["answers"])
            ),
            answer=answer,
            expected=str(item["answers"][0]),
            picture=sample.sha256,
        )
        for (sample, item), answer in zip(asked, answers, strict=True)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the job of `--spec`; returns 0, or 1 with a message."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, type=Path, help="EvaluateSpec as JSON")
    spec = EvaluateSpec.model_validate_json(parser.parse_args(arguments).spec.read_text())
    torch.set_num_threads(spec.threads)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))  # nothing to save: run again
    out = Path(spec.output)
    progress = Progress(out, writes=True, total_steps=1)
    progress.say("loading the model")
    captioner = Captioner.load(Path(spec.model), batch_size=spec.batch_size)
    try:
        outcomes = evaluate(spec, captioner, progress=progress)
    except ValueError as error:
        (out / "error.txt").write_text(str(error))
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    write_outcomes(out / "outcomes.jsonl", outcomes)
    scores = [asdict(benchmark) for benchmark in benchmark_scores(outcomes)]
    partial = out / "result.json.partial"
    partial.write_text(json.dumps({"scores": scores, "questions": len(outcomes)}, indent=1))
    partial.rename(out / "result.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
