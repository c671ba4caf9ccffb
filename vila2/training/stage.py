"""One stage: its freeze mask, its optimizers, and its steps, read top to bottom."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch

from vila2.model.build import VLM
from vila2.schemas.train_spec import Stage, TrainSpec
from vila2.training.batches.batches import StageData, StepCounts, StepData
from vila2.training.checkpoint import Position, restore_about, restore_optimizers, save_checkpoint
from vila2.training.divergence import LossGuard
from vila2.training.lora import adapt, merge
from vila2.training.meter import Arithmetic, Meter, achievable
from vila2.training.objective import MicroBatch, Objective, packed_attention
from vila2.training.optim import (
    Optimizers,
    build_optimizers,
    freeze,
    lr_factor,
    trainable_parameters,
)
from vila2.training.parallel import Agreement, prepare, unsynchronised, whole
from vila2.training.progress import Progress

STOP_STAGE = "stop_stage.json"
# A checkpoint may take this share of the time between two of them.
_CHECKPOINT_SHARE = 0.1
_LOOK_SECONDS = 1.0
_RECORD_STEPS = 10


class Interrupted(Exception):
    """SIGTERM or SIGUSR1 was received and the state has been saved."""


class NothingToLearn(ValueError):
    """No token of a step's batch carries loss, so the step would change nothing."""


class StageRun:
    """Trains stage `number` of a spec on this process's share; records its results in `done`."""

    def __init__(
        self,
        spec: TrainSpec,
        number: int,
        vlm: VLM,
        accelerator: Any,
        progress: Progress,
        *,
        stopping: Callable[[], bool],
        done: dict[str, Any],
    ) -> None:
        self._spec, self._number, self._vlm = spec, number, vlm
        self._stage = spec.stages[number]
        self._accelerator, self._progress = accelerator, progress
        self._agreement = Agreement(accelerator)
        self._stopping, self._done = stopping, done
        self._counts = StepCounts()
        self._saved_at, self._saving = time.monotonic(), 0.0
        self._looked_at = 0.0

    def run(self, position: Position, slot: Path | None) -> None:
        """Train from a position within this stage on; raises `Interrupted` or `Diverged`."""
        spec, stage, vlm = self._spec, self._stage, self._vlm
        freeze(vlm, stage)
        if stage.lora and not position.step:
            adapt(vlm, stage.lora)
        vlm.model.to(self._accelerator.device)
        data = StageData(
            spec,
            stage,
            vlm,
            seed=spec.seed + 1000 * (self._number + 1),
            rank=self._accelerator.process_index,
            world=self._accelerator.num_processes,
            report=self._progress.say,
        )
        with ExitStack() as stack:
            stack.callback(data.close)
            self._bypassing(data, stack)
            if stage.pack:
                stack.enter_context(packed_attention(vlm.part("language")))
            model = prepare(Objective(vlm.model), spec, self._accelerator)
            optimizers = build_optimizers(vlm, stage)
            if slot is not None and position.step:
                restore_optimizers(slot, optimizers)
                self._counts.add(StepCounts(**restore_about(slot)["counts"]))
            seconds, reason = self._steps(model, optimizers, data, position)
        if stage.lora:
            merge(vlm)
        self._done[stage.name] = {
            "steps": stage.steps,
            "seconds": round(seconds, 2),
            "visits": self._counts.samples,
            "missing": dict(self._counts.missing),
            "truncated": self._counts.truncated,
            "without_loss": self._counts.without_loss,
            **({"stopped_early": reason} if reason else {}),
        }
        self._save(None, Position(spec.digest(), self._number + 1, 0, 0.0), data)

    def _steps(
        self, model: Any, optimizers: Optimizers, data: StageData, position: Position
    ) -> tuple[float, str]:
        """(seconds of the stage, why it ended early)."""
        stage = self._stage
        parameters = trainable_parameters(self._vlm)
        before = sum(earlier.steps for earlier in self._spec.stages[: self._number])
        arithmetic = Arithmetic.of(self._vlm, stage.trainable, features=data.features is not None)
        limit = achievable(self._accelerator.device, half=self._spec.precision == "bf16")
        meter = Meter(arithmetic, limit=limit, processes=self._accelerator.num_processes)
        guard = LossGuard(stage.name)
        started = time.monotonic() - position.seconds
        window: list[float] = []
        steps = data.steps(position.step, position.visits)
        for step in range(position.step, stage.steps):
            asked = time.perf_counter()
            share = next(steps)
            meter.waited(time.perf_counter() - asked)
            self._counts.add(share.counts)
            optimizers.scale_lr(lr_factor(step, steps=stage.steps, settings=stage.optimizer))
            passes, stop, ending = self._agreement.most(
                len(share.micro), int(self._stopping()), int(bool(self._asked_to_end()))
            )
            loss = self._gradients(model, share, passes)
            norm = torch.nn.utils.clip_grad_norm_(parameters, stage.optimizer.clip)
            guard.check(loss, float(whole(norm)))
            optimizers.step()
            optimizers.zero_grad()
            meter.passed(share.micro)
            window.append(loss)
            done, seconds = step + 1, time.monotonic() - started
            last = done == stage.steps or bool(ending)
            self._progress.step(
                before + done, stage=stage.name, metrics={"loss": loss, **meter.rates()}, force=last
            )
            if done % _RECORD_STEPS == 0 or last:
                self._progress.record(
                    stage=stage.name,
                    step=done,
                    loss=sum(window) / len(window),
                    seconds=round(seconds, 2),
                    **{name: round(rate, 4) for name, rate in meter.rates().items()},
                )
                window.clear()
            if last:
                break
            if self._agreement.most(int(bool(stop) or self._due()))[0]:
                at = Position(self._spec.digest(), self._number, done, seconds, share.visits)
                self._save(optimizers, at, data)
                if stop:
                    raise Interrupted
        steps.close()
        return time.monotonic() - started, self._asked_to_end(at_once=True) if ending else ""

    def _gradients(self, model: Any, share: StepData, passes: int) -> float:
        """Backward passes of a step's rows; returns the mean loss over all processes, nats."""
        counted = sum(batch.loss_tokens for batch in share.micro)
        (total,) = self._agreement.total(float(counted))
        if total == 0:
            raise NothingToLearn(_nothing_to_learn(self._stage))
        # Gradients are averaged over processes, so each loss is scaled by their number.
        scale = self._accelerator.num_processes / total
        summed = 0.0
        for number, batch in enumerate(_filled(share.micro, passes)):
            last = number == passes - 1
            with unsynchronised(model, self._accelerator, last=last):
                with self._precision():
                    loss = model(batch, self._pixels(batch))
                (loss * scale).backward()
            summed += float(loss.detach())
        (summed,) = self._agreement.total(summed)
        return summed / total

    def _pixels(self, batch: MicroBatch) -> torch.Tensor:
        images = batch.images.to(self._accelerator.device, non_blocking=True)
        return self._vlm.normalise(images) if images.dtype == torch.uint8 else images

    def _precision(self) -> Any:
        if self._spec.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._accelerator.device.type, dtype=torch.bfloat16)

    def _due(self) -> bool:
        """Whether a checkpoint is due; checkpoints may take only a bounded share of the time."""
        pause = max(self._spec.checkpoint_seconds, self._saving / _CHECKPOINT_SHARE)
        return time.monotonic() - self._saved_at > pause

    def _save(self, optimizers: Optimizers | None, position: Position, data: StageData) -> None:
        began = time.monotonic()
        with ExitStack() as stack:
            if data.features is not None and optimizers is not None:
                # The tower is part of the model, even if cached features replace it.
                self._bypass.restore()
                stack.callback(self._bypassing, data, None)
            save_checkpoint(
                Path(self._spec.output) / "checkpoints",
                self._vlm,
                optimizers,
                position,
                writes=self._accelerator.is_main_process,
                about={"done": self._done, "counts": self._counts.as_dict()},
            )
        self._saved_at, self._saving = time.monotonic(), time.monotonic() - began

    def _bypassing(self, data: StageData, stack: ExitStack | None) -> None:
        """Replace the tower by cached features until the stack is closed."""
        if data.features is None:
            return
        self._bypass = data.features.bypass()
        if stack is not None:
            stack.callback(lambda: self._bypass.restore())

    def _asked_to_end(self, *, at_once: bool = False) -> str:
        """Why this stage was asked to end early; empty if it was not."""
        if time.monotonic() - self._looked_at < _LOOK_SECONDS and not at_once:
            return ""
        self._looked_at = time.monotonic()
        try:
            asked = json.loads((Path(self._spec.output) / STOP_STAGE).read_text())
        except (OSError, ValueError):
            return ""
        return str(asked.get("reason", "asked")) if asked.get("stage") == self._stage.name else ""


def _nothing_to_learn(stage: Stage) -> str:
    read = ", ".join(f"{source.name} ({source.assembly.policy})" for source in stage.sources)
    return (
        f"stage {stage.name}: no token of a batch carries loss. It reads {read}: policy `original` "
        "trains on captions and `conversations` on question-and-answer turns; choose the policy "
        "that matches what the samples have, or raise the preset's max_length if all texts are "
        "truncated"
    )


def _filled(micro: Sequence[MicroBatch], passes: int) -> list[MicroBatch]:
    """Pad to the number of passes of the busiest process; added passes have no loss."""
    spare = micro[0].without_loss()
    return [*micro, *([spare] * (passes - len(micro)))]
