"""Cost of training a vision-language model: memory, FLOPs and hours, from shapes only. Pure.

FLOPs follow Kaplan et al. 2020 (section 2.1: two per weight and token forward, twice that backward)
with attention as in Chowdhery et al. 2022 (PaLM, appendix B: 4·layers·width·length per token
forward; no discount for the causal mask, as there). A frozen part costs its forward pass, and one
more pass if gradients cross it on their way to a trainable part. Recomputation costs one
forward pass of what is recomputed.

Memory follows Rajbhandari et al. 2020 (ZeRO): weights, gradients and Adam's moments, sharded or not
(bytes per parameter: `Precision`). Activations follow the method of Korthikanti et al. 2022
(section 4): an inventory of what a layer keeps for its backward pass, here of a layer with
memory-saving attention (no length x length matrix), without dropout, gated or not. With
checkpointing a layer keeps its input, and one layer at a time is kept whole.

Not modelled: communication, data loading, evaluation, restarts. `--mfu` accounts for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Part = Literal["vision", "projector", "language"]
Parallelism = Literal["ddp", "fsdp"]
ORDER: tuple[Part, ...] = ("vision", "projector", "language")
GIB = 2**30
# A plan fits if it needs at most this share; the rest is for CUDA, NCCL and fragmentation.
USABLE = 0.9


@dataclass(frozen=True, slots=True)
class Shape:
    """A part. `matmul`: weights that multiply every token (linear layers, patch convolution)."""

    parameters: int
    matmul: int
    layers: int = 0
    hidden: int = 0
    attention: int = 0  # heads x head size
    key_value: int = 0  # the same of keys and values
    intermediate: int = 0
    gated: bool = False  # an MLP of three matrices (SwiGLU) with RMSNorm, else of two, LayerNorm
    largest_layer: int = 0  # parameters


@dataclass(frozen=True, slots=True)
class Model:
    """A composed model. `patches`: tokens inside the tower, `image_tokens`: outside."""

    parts: Mapping[Part, Shape]
    patches: int
    image_tokens: int
    vocabulary: int
    outside_layers: int  # parameters of embedding, output layer, projector, final norms

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(shape.parameters for shape in self.parts.values())


@dataclass(frozen=True, slots=True)
class Stage:
    """One training stage; `source` cites the numbers of samples and text tokens."""

    name: str
    trainable: frozenset[Part]
    samples: int
    text_tokens: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Precision:
    """Bytes of each number kept: bf16 mixed precision with fp32 master weights and AdamW."""

    learning: int = 4  # a trainable weight (master copy)
    frozen: int = 2
    working: int = 2  # the copy used in matrix products
    gradient: int = 4
    optimizer: int = 8  # two fp32 moments
    activation: int = 2
    stream: int = 4  # inputs of norms, and activations between layers
    logit: int = 14  # bf16 logits, fp32 logits, their log-softmax and gradient


@dataclass(frozen=True, slots=True)
class Hardware:
    """A cluster of equal GPUs; `utilisation` is of the FLOPs executed, recomputation included."""

    gpus: int
    memory: float = 80.0  # GiB each
    peak: float = 989e12  # FLOP/s each, dense bf16 (H100 SXM)
    utilisation: float = 0.4


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one GPU."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """Sum of all items."""
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage under one kind of parallelism."""

    stage: str
    parallelism: Parallelism
    checkpointing: bool
    micro_batch: int  # samples at a time on one GPU: the largest power of two that fits, or 1
    memory: Memory
    fits: bool
    flops_per_sample: float  # executed, recomputation included
    flops: float
    gpu_hours: float
    wall_hours: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All stages under every kind of parallelism."""

    model: Model
    hardware: Hardware
    stages: Sequence[Stage]
    batch: int
    precision: Precision = field(default_factory=Precision)

    def rows(self) -> list[StagePlan]:
        """Stage by stage; within one, replicated before sharded."""
        return [
            plan_stage(self, stage, parallelism, checkpointing=checkpointing)
            for stage in self.stages
            for parallelism in ("ddp", "fsdp")
            for checkpointing in (False, True)
        ]  # fmt: skip


def plan_stage(
    plan: Plan, stage: Stage, parallelism: Parallelism, *, checkpointing: bool
) -> StagePlan:
    """Plan one stage under one kind of parallelism, at the largest micro-batch that fits."""

    def memory_at(micro: int) -> Memory:
        return memory(
            plan.model, stage, parallelism, gpus=plan.hardware.gpus, micro_batch=micro,
            checkpointing=checkpointing, precision=plan.precision,
        )  # fmt: skip

    usable = USABLE * plan.hardware.memory * GIB
    micro = 1
    while 2 * micro * plan.hardware.gpus <= plan.batch and memory_at(2 * micro).total <= usable:
        micro *= 2
    each = flops_per_sample(plan.model, stage, checkpointing=checkpointing)
    total = each * stage.samples
    seconds = total / (plan.hardware.peak * plan.hardware.utilisation)
    held = memory_at(micro)
    return StagePlan(
        stage=stage.name,
        parallelism=parallelism,
        checkpointing=checkpointing,
        micro_batch=micro,
        memory=held,
        fits=held.total <= usable,
        flops_per_sample=each,
        flops=total,
        gpu_hours=seconds / 3600,
        wall_hours=seconds / 3600 / plan.hardware.gpus,
    )


def crossed(stage: Stage) -> frozenset[Part]:
    """Parts that gradients pass through: the trainable ones, and all between them and the loss."""
    first = min((ORDER.index(part) for part in stage.trainable), default=len(ORDER))
    return frozenset(ORDER[first:])


def forward_flops(model: Model, *, text_tokens: int) -> dict[Part, tuple[float, float]]:
    """FLOPs of one sample's forward pass, by part: (in weights, in attention)."""
    tokens = {
        "vision": model.patches,
        "projector": model.image_tokens,
        "language": model.image_tokens + text_tokens,
    }
    made: dict[Part, tuple[float, float]] = {}
    for part, shape in model.parts.items():
        length = tokens[part]
        attention = 4.0 * shape.layers * shape.attention * length**2
        made[part] = (2.0 * shape.matmul * length, attention)
    return made


def flops_per_sample(model: Model, stage: Stage, *, checkpointing: bool = False) -> float:
    """FLOPs executed for one sample, forward, backward and, if checkpointing, forward again."""
    total = 0.0
    passed = crossed(stage)
    for part, (weights, attention) in forward_flops(model, text_tokens=stage.text_tokens).items():
        backward = 0.0
        if part in passed:
            # Attention multiplies activations alone: two products backward for each forward.
            backward = weights * (2 if part in stage.trainable else 1) + 2 * attention
        again = weights + attention if checkpointing and part in passed else 0.0
        total += weights + attention + backward + again
    return total


def memory(
    model: Model,
    stage: Stage,
    parallelism: Parallelism,
    *,
    gpus: int,
    micro_batch: int,
    checkpointing: bool,
    precision: Precision | None = None,
) -> Memory:
    """Peak bytes on one GPU; gradients and activations are counted together.

    `ddp` keeps everything on every GPU, and a working copy of the trainable weights. `fsdp`
    (ZeRO-3) keeps a share, plus working copies of two layers and of the weights outside the layers.
    """
    p = precision or Precision()
    learning = sum(model.parts[part].parameters for part in stage.trainable)
    frozen = model.parameters - learning
    shards = gpus if parallelism == "fsdp" else 1
    largest = max(shape.largest_layer for shape in model.parts.values())
    if parallelism == "ddp":
        working = float(p.working * learning) if p.working != p.learning else 0.0
        gradients = float(p.gradient * learning)
    else:
        working = float(p.working * (2 * largest + model.outside_layers))
        whole = max((model.parts[part].largest_layer for part in stage.trainable), default=0)
        gradients = p.gradient * learning / shards + p.working * whole
    return Memory(
        weights=(p.learning * learning + p.frozen * frozen) / shards + working,
        gradients=gradients,
        optimizer=p.optimizer * learning / shards,
        activations=micro_batch
        * activations(model, stage, checkpointing=checkpointing, precision=p),
    )


def activations(model: Model, stage: Stage, *, checkpointing: bool, precision: Precision) -> float:
    """Bytes that one sample's forward pass stores for its backward pass."""
    length = {
        "vision": model.patches,
        "projector": model.image_tokens,
        "language": model.image_tokens + stage.text_tokens,
    }
    kept, one_layer = 0.0, 0.0
    for part in crossed(stage):
        shape = model.parts[part]
        layer = length[part] * layer_bytes(
            shape, learns=part in stage.trainable, precision=precision
        )
        one_layer = max(one_layer, layer)
        between = length[part] * shape.hidden * precision.stream
        kept += shape.layers * (between if checkpointing else layer)
    logits = length["language"] * model.vocabulary * precision.logit
    return kept + logits + (one_layer if checkpointing else 0.0)


def layer_bytes(shape: Shape, *, learns: bool, precision: Precision) -> float:
    """Bytes that one layer keeps of one token.

    Kept in any case: the inputs of two norms; queries, keys, values and output of attention; the
    MLP's values on both sides of its nonlinearity (gated: gate, its activation, and the other
    factor). A trainable layer also keeps the inputs of its matrices (two norms' outputs,
    attention's output in the order that the next matrix reads, the MLP's product), and RMSNorm what
    its weight multiplies.
    """
    if not shape.layers:
        return 0.0
    numbers = 2 * shape.attention + 2 * shape.key_value
    numbers += (3 if shape.gated else 1) * shape.intermediate
    if learns:
        norms = 4 if shape.gated else 2
        numbers += norms * shape.hidden + shape.attention + shape.intermediate
    return 2.0 * shape.hidden * precision.stream + numbers * precision.activation
