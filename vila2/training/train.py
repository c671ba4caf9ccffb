"""The trainer: `torchrun -m vila2.training.train --spec job.json`, or with `python -m`.

Reads a `TrainSpec`, runs its stages, and leaves in the output folder `model/` (a plain
`save_pretrained` directory), `result.json`, `progress.json` and `metrics.jsonl`. SIGTERM or SIGUSR1
makes it checkpoint and leave with status 75; started again it goes on from there, bit for bit on a
CPU. A file `stop_stage.json` in the output folder, {"stage": NAME, "reason": TEXT}, ends that stage
after the step in hand.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from vila2.data.sample import Sample
from vila2.data.stored.intact import read_stored
from vila2.engine.golden_set import write_golden
from vila2.engine.reference import write_reference
from vila2.model import build
from vila2.model.build import VLM, compose, fresh_projector
from vila2.model.digest import folder_digest
from vila2.model.preset import load_preset
from vila2.schemas.train_spec import Continue, FromBase, NewModel, Source, TrainSpec
from vila2.system.files import directory_atomically, write_atomically
from vila2.training.checkpoint import (
    Position,
    latest_checkpoint,
    restore_about,
    restore_weights,
)
from vila2.training.divergence import Diverged
from vila2.training.lora import adapt
from vila2.training.progress import Progress
from vila2.training.stage import Interrupted, StageRun

INTERRUPTED = 75  # EX_TEMPFAIL: checkpointed, run again to resume
LATE_IMPORTS = (*build.LATE_IMPORTS, "accelerate")


class Trainer:
    """Runs one spec on this process's share of the data."""

    def __init__(self, spec: TrainSpec, *, accelerator: Any) -> None:
        self._spec, self._accelerator = spec, accelerator
        self._out = Path(spec.output)
        self._progress = Progress(
            self._out,
            writes=accelerator.is_main_process,
            total_steps=sum(stage.steps for stage in spec.stages),
            tensorboard=spec.tensorboard,
        )
        self._stopping = False
        self._done: dict[str, Any] = {}  # stage -> its results

    def request_stop(self, *_: object) -> None:
        """Checkpoint after the current step, then exit."""
        self._stopping = True

    def run(self) -> None:
        """Train every stage that is not done yet and write the model."""
        vlm, position, slot = self._start()
        for number in range(position.stage, len(self._spec.stages)):
            stage = StageRun(
                self._spec, number, vlm, self._accelerator, self._progress,
                stopping=lambda: self._stopping, done=self._done,
            )  # fmt: skip
            stage.run(position, slot)
            if self._spec.parallel == "fsdp" and self._accelerator.num_processes > 1:
                # Each process holds a shard now; the checkpoint between the stages is whole.
                self._accelerator.wait_for_everyone()
                vlm, position, slot = self._start()
            else:
                position, slot = Position(self._spec.digest(), number + 1, 0, 0.0), None
        if self._accelerator.is_main_process:
            self._finish(vlm)

    def _start(self) -> tuple[VLM, Position, Path | None]:
        """The model from the newest checkpoint, or else as the spec initialises it."""
        vlm = self._initial_model()
        found = latest_checkpoint(self._out / "checkpoints", spec=self._spec.digest())
        if found is None:
            return vlm, Position(self._spec.digest(), 0, 0, 0.0), None
        slot, position = found
        if position.step and (settings := self._spec.stages[position.stage].lora):
            adapt(vlm, settings)
        restore_weights(slot, vlm)
        self._done.update(restore_about(slot)["done"])
        self._progress.say(f"resuming at stage {position.stage} step {position.step}")
        return vlm, position, slot

    def _initial_model(self) -> VLM:
        init = self._spec.init
        if isinstance(init, NewModel):
            self._progress.say("building the base model")
            return compose(
                load_preset(init.preset),
                texts=_texts(init.tokenizer_sources),
                seed=self._spec.seed,
            )
        self._progress.say("loading weights")
        vlm = VLM.load(Path(init.path))
        if isinstance(init, FromBase):
            fresh_projector(vlm, seed=self._spec.seed)
        else:
            assert isinstance(init, Continue)
        return vlm

    def _finish(self, vlm: VLM) -> None:
        final = self._out / "model"
        shutil.rmtree(final, ignore_errors=True)
        with directory_atomically(final, partial=self._out / "model.partial") as partial:
            vlm.save(partial)
            if self._spec.stages:
                source = self._spec.stages[-1].sources[0]
                write_reference(partial, _samples(source))
                write_golden(partial, _samples(source))
            # A base that is only composed has seen no samples, so it gets no golden set.
        result = {
            "model": str(final),
            "sha256": folder_digest(final),
            "parameters": sum(p.numel() for p in vlm.model.parameters()),
            "opens_with": vlm.opens_with,
            "stages": self._done,
        }
        write_atomically(self._out / "result.json", json.dumps(result, indent=1))
        shutil.rmtree(self._out / "checkpoints", ignore_errors=True)


def _samples(source: Source) -> Iterator[Sample]:
    for shard in source.shards:
        yield from read_stored(shard, source.stored)


def _texts(sources: list[Source]) -> list[str]:
    """Every text of the sources, to train a tokenizer on."""
    texts: list[str] = []
    for source in sources:
        for sample in _samples(source):
            texts.append(sample.caption)
            texts += [text for turn in sample.turns for text in (turn.question, turn.answer)]
    return [text for text in texts if text]


def main(arguments: list[str] | None = None) -> int:
    """Run the job of `--spec`; returns 0, 75 when interrupted, 1 with a message on failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, type=Path, help="TrainSpec as JSON")
    spec = TrainSpec.model_validate_json(parser.parse_args(arguments).spec.read_text())
    torch.set_num_threads(spec.threads)
    from accelerate import Accelerator

    cpu = not torch.cuda.is_available()
    trainer = Trainer(spec, accelerator=Accelerator(cpu=cpu))
    for name in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(name, trainer.request_stop)
    try:
        trainer.run()
    except Interrupted:
        return INTERRUPTED
    except (Diverged, ValueError) as error:
        error_file = Path(spec.output) / "error.txt"
        error_file.write_text(str(error))
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
