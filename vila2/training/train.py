"""The trainer: `torchrun -m vila2.training.train --spec job.json`, or with `python -m`.

Reads a `TrainSpec`, runs its stages, and leaves in the output folder `model/` (a plain
`save_pretrained` directory), `result.json`, `progress.json` and `metrics.jsonl`. SIGTERM makes it
checkpoint and leave with status 75; started again it goes on from there, bit for bit on a CPU.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from vila2.data.shards import read_shard
from vila2.model.build import VLM, compose, fresh_projector, weights_digest
from vila2.model.golden import write_golden
from vila2.model.preset import load_preset
from vila2.model.reference import write_reference
from vila2.training.checkpoint import (
    Position,
    latest_checkpoint,
    restore_optimisers,
    restore_weights,
    save_checkpoint,
)
from vila2.training.data import Batch, LoadedSource, PictureCache, StageData, load_source
from vila2.training.optim import build_optimisers, freeze, lr_factor, trainable_parameters
from vila2.training.progress import Progress
from vila2.training.spec import Continue, FromBase, NewModel, Source, Stage, TrainSpec

INTERRUPTED = 75  # EX_TEMPFAIL: checkpointed, run again to go on


class Diverged(RuntimeError):
    """The loss is not a number; the last good checkpoint is kept."""


class Interrupted(Exception):
    """SIGTERM or SIGUSR1 came and the state is saved."""


class Trainer:
    """Runs one spec on this process's share of the data."""

    def __init__(self, spec: TrainSpec, *, accelerator: Any) -> None:
        self._spec = spec
        self._accelerator = accelerator
        self._out = Path(spec.output)
        self._total = sum(stage.steps for stage in spec.stages)
        self._progress = Progress(
            self._out, writes=accelerator.is_main_process, total_steps=self._total
        )
        self._stop = False
        self._counts: dict[str, Any] = {}

    def request_stop(self, *_: object) -> None:
        """Checkpoint after the step in hand, then leave."""
        self._stop = True

    def run(self) -> None:
        """Train every stage that is not done yet and write the model."""
        found = latest_checkpoint(self._out / "checkpoints", spec=self._spec.digest())
        vlm = self._initial_model()
        position = Position(self._spec.digest(), 0, 0, 0.0)
        slot = None
        if found is not None:
            slot, position = found
            restore_weights(slot, vlm)
            counts = self._out / "stages.json"
            self._counts = json.loads(counts.read_text()) if counts.exists() else {}
            self._progress.say(f"resuming at stage {position.stage} step {position.step}")
        vlm.model.to(self._accelerator.device)
        pictures = PictureCache(vlm, Path(self._spec.cache), features=self._spec.cache_features)
        loaded: dict[str, LoadedSource] = {}
        for number in range(position.stage, len(self._spec.stages)):
            stage = self._spec.stages[number]
            sources = [self._load(source, pictures, loaded) for source in stage.sources]
            self._train_stage(vlm, number, stage, sources, pictures, position, slot)
            position, slot = Position(self._spec.digest(), number + 1, 0, 0.0), None
        self._finish(vlm)

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

    def _load(
        self, source: Source, pictures: PictureCache, loaded: dict[str, LoadedSource]
    ) -> LoadedSource:
        key = source.model_dump_json(exclude={"repeat"})
        if key not in loaded:
            loaded[key] = load_source(
                source, pictures, seed=self._spec.seed, report=self._progress.say
            )
        held = loaded[key]
        return LoadedSource(source, held.samples, held.pixels, held.captions)

    def _train_stage(
        self,
        vlm: VLM,
        number: int,
        stage: Stage,
        sources: list[LoadedSource],
        pictures: PictureCache,
        position: Position,
        slot: Path | None,
    ) -> None:
        accelerator = self._accelerator
        freeze(vlm, stage)
        optimisers = build_optimisers(vlm, stage)
        if slot is not None and position.step:
            restore_optimisers(slot, optimisers)
        model = accelerator.prepare(vlm.model) if accelerator.num_processes > 1 else vlm.model
        parameters = trainable_parameters(vlm)
        data = StageData(
            stage,
            sources,
            vlm,
            pictures,
            seed=self._spec.seed + 1000 * (number + 1),
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        )
        before = sum(earlier.steps for earlier in self._spec.stages[:number])
        started = time.monotonic() - position.seconds
        saved_at = time.monotonic()
        bypass = pictures.features.bypass(vlm) if pictures.features else None
        window: list[float] = []
        tokens = 0
        try:
            for step, batch in enumerate(data.batches(position.step), start=position.step):
                optimisers.scale_lr(lr_factor(step, steps=stage.steps, settings=stage.optimiser))
                loss = self._step(model, batch, parameters, optimisers, stage)
                window.append(loss)
                tokens += batch.tokens
                done = step + 1
                seconds = time.monotonic() - started
                rate = tokens / max(1e-9, time.monotonic() - started - position.seconds)
                self._progress.step(
                    before + done,
                    stage=stage.name,
                    metrics={"loss": loss, "tokens_per_second": rate},
                    force=done == stage.steps,
                )
                if done % 10 == 0 or done == stage.steps:
                    self._progress.record(
                        stage=stage.name,
                        step=done,
                        loss=sum(window) / len(window),
                        seconds=round(seconds, 2),
                    )
                    window.clear()
                due = time.monotonic() - saved_at > self._spec.checkpoint_seconds
                if self._stop or (due and done < stage.steps):
                    if bypass is not None:
                        bypass.restore()
                    self._save(vlm, optimisers, Position(position.spec, number, done, seconds))
                    if self._stop:
                        raise Interrupted
                    bypass = pictures.features.bypass(vlm) if pictures.features else None
                    saved_at = time.monotonic()
        finally:
            if bypass is not None:
                bypass.restore()
        self._counts[stage.name] = {
            "steps": stage.steps,
            "seconds": round(time.monotonic() - started, 2),
            "visits": data.counts.samples,
            "missing": dict(data.counts.missing),
            "truncated": data.truncated,
        }
        self._write_counts()
        self._save(vlm, None, Position(self._spec.digest(), number + 1, 0, 0.0))

    def _write_counts(self) -> None:
        """Keep what the finished stages did, so that a resumed job still reports them."""
        if self._accelerator.is_main_process:
            (self._out / "stages.json").write_text(json.dumps(self._counts))

    def _step(
        self, model: Any, batch: Batch, parameters: list[Any], optimisers: Any, stage: Stage
    ) -> float:
        device = self._accelerator.device
        autocast = (
            torch.autocast(device.type, dtype=torch.bfloat16)
            if self._spec.precision == "bf16"
            else nullcontext()
        )
        with autocast:
            loss = model(
                input_ids=batch.ids.to(device),
                pixel_values=batch.pixel_values.to(device),
                attention_mask=batch.attention.to(device),
                labels=batch.labels.to(device),
                use_cache=False,
            ).loss
        value = float(loss.detach())
        if not math.isfinite(value):
            raise Diverged(
                f"stage {stage.name}: the loss is {value}; lower `lr` in the recipe. "
                "The last good checkpoint is kept."
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, stage.optimiser.clip)
        optimisers.step()
        optimisers.zero_grad()
        return value

    def _save(self, vlm: VLM, optimisers: Any, position: Position) -> None:
        if self._accelerator.is_main_process:
            save_checkpoint(self._out / "checkpoints", vlm, optimisers, position)

    def _finish(self, vlm: VLM) -> None:
        if not self._accelerator.is_main_process:
            return
        partial = self._out / "model.partial"
        shutil.rmtree(partial, ignore_errors=True)
        vlm.save(partial)
        last = self._spec.stages[-1].sources[0]
        write_golden(partial, (s for shard in last.shards for s in read_shard(Path(shard))))
        write_reference(partial, (s for shard in last.shards for s in read_shard(Path(shard))))
        final = self._out / "model"
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        result = {
            "model": str(final),
            "sha256": weights_digest(final),
            "parameters": sum(p.numel() for p in vlm.model.parameters()),
            "stages": self._counts,
        }
        done = self._out / "result.json.partial"
        done.write_text(json.dumps(result, indent=1))
        done.rename(self._out / "result.json")
        shutil.rmtree(self._out / "checkpoints", ignore_errors=True)


def _texts(sources: list[Source]) -> list[str]:
    """Every text of the sources, to train a tokenizer on."""
    texts: list[str] = []
    for source in sources:
        for shard in source.shards:
            for sample in read_shard(Path(shard)):
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
