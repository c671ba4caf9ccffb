"""Evaluate a model on benchmarks: `python -m vila2.evaluation.evaluate --spec job.json`.

Every question is asked through the captioner, as the caption service asks. Writes
`outcomes.jsonl` (one line per question) and `result.json` (scores with bootstrap intervals, and
what else each metric tells).
Greedy decoding: an evaluation has no luck of its own.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from vila2.data.sample import Sample
from vila2.data.stored.intact import read_stored
from vila2.engine.captioner import Captioner
from vila2.evaluation.inference import Asker
from vila2.evaluation.outcomes import Outcome, benchmark_scores, write_outcomes
from vila2.evaluation.scoring import Item, score_answers
from vila2.model import build
from vila2.schemas.evaluate_spec import EvaluateSpec
from vila2.system.files import write_atomically
from vila2.training.progress import Progress

# Images of this many questions are held in memory at a time, whatever the benchmark's size.
_CHUNK = 1024
LATE_IMPORTS = build.LATE_IMPORTS


def evaluate(spec: EvaluateSpec, captioner: Captioner, *, progress: Progress) -> list[Outcome]:
    """Ask every question of every benchmark and score the answers, in order.

    Raises `ValueError` if there is no question, or one that cannot be scored.
    """
    total = sum(len(sample.items) for sample in _samples(spec))
    if not total:
        raise ValueError("the benchmarks hold no question: submit them with --format benchmark")
    progress.total(total)
    asked: list[tuple[str, Item]] = []
    answers: list[str] = []
    asker = Asker(captioner, max_new_tokens=spec.max_new_tokens, seed=spec.seed)
    for chunk in _chunks(_samples(spec)):
        done = len(answers)

        def report(more: int, done: int = done) -> None:
            now = done + more
            progress.step(now, stage="evaluating", metrics={}, force=now == total)

        answers += asker.answers(chunk, report)
        asked += [(sample.sha256, item) for sample in chunk for item in sample.items]
        report(len(answers) - done)
    return score_answers(asked, answers)


def _samples(spec: EvaluateSpec) -> Iterator[Sample]:
    for shards in spec.benchmarks.values():
        for shard in shards:
            yield from read_stored(shard, spec.stored)


def _chunks(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    chunk: list[Sample] = []
    questions = 0
    for sample in samples:
        chunk.append(sample)
        questions += len(sample.items)
        if questions >= _CHUNK:
            yield chunk
            chunk, questions = [], 0
    if chunk:
        yield chunk


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
    device = "cuda" if torch.cuda.is_available() else "cpu"  # as the trainer chooses
    captioner = Captioner.load(Path(spec.model), batch_size=spec.batch_size, device=device)
    try:
        outcomes = evaluate(spec, captioner, progress=progress)
    except ValueError as error:
        (out / "error.txt").write_text(str(error))
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    write_outcomes(out / "outcomes.jsonl", outcomes)
    scores = [asdict(benchmark) for benchmark in benchmark_scores(outcomes)]
    result = {"scores": scores, "questions": len(outcomes)}
    write_atomically(out / "result.json", json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
