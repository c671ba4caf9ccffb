"""`vila2 caption`: caption a dataset with any model, and follow a caption job."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Literal

import typer

from vila2.cli.captions.prompts import read_prompts
from vila2.cli.connection.session import Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.datasets import split_version
from vila2.client import Client
from vila2.schemas.canonical import canonical_json
from vila2.schemas.rest.caption import CaptionJob, CaptionJobIn, Estimate, PreviewIn
from vila2.schemas.rest.datasets import Layer
from vila2.schemas.sampling import Gate, Sampling
from vila2.system.numbers import counted
from vila2.system.terminal import duration, progress_bar, say

Dataset = Annotated[str, typer.Argument(help="Dataset, or dataset@version.")]
Model = Annotated[str, typer.Option(help="A model listed by `vila2 models list`, or an endpoint.")]
PromptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        help="A question to ask about each image. If repeated, each image gets one of them.",
    ),
]
PromptsFile = Annotated[
    Path | None,
    typer.Option("--prompts", exists=True, dir_okay=False, help="YAML file with prompts."),
]
System = Annotated[str, typer.Option(help="A system message, for models that take one.")]
Tokens = Annotated[
    int,
    typer.Option(
        "--max-new-tokens", min=1, max=4096, help="Maximum number of tokens of a caption."
    ),
]
Temperature = Annotated[float, typer.Option(min=0, max=5, help="0 is greedy decoding.")]
Language = Annotated[
    str, typer.Option(help="Required language of captions, such as `en`. `any` accepts all.")
]
TopP = Annotated[float, typer.Option("--top-p", min=0.01, max=1)]
Seed = Annotated[int, typer.Option(min=0, help="Seed of prompts and sampling.")]
_POLL_SECONDS = 0.5
_WINDOW_SECONDS = 60.0


def caption(
    session: Session,
    dataset: Dataset,
    model: Model,
    prompt: PromptOption = None,
    prompts: PromptsFile = None,
    system: System = "",
    name: Annotated[str, typer.Option(help="Name of the layer; default: the model's name.")] = "",
    max_new_tokens: Tokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    attempts: Annotated[
        int, typer.Option(min=1, max=20, help="Attempts before a sample is quarantined.")
    ] = 3,
    language: Language = "any",
    mode: Annotated[
        Literal["keep", "append", "overwrite"],
        typer.Option(help="What to do with the captions of an earlier layer of this name."),
    ] = "keep",
    budget: Annotated[
        float | None, typer.Option(help="Pause before the cost exceeds this amount.")
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Caption 8 samples and print what captioning all would take."
        ),
    ] = False,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach", help="With a server: return at once instead of following the job."
        ),
    ] = False,
) -> None:
    """Caption every image of a dataset; run the same command again to resume.

    Captions are stored as a layer; the original text is kept. A caption that fails the gate is
    retried, then quarantined with the reason. In a new version of the dataset, only new or changed
    images are captioned: `--mode overwrite` captions all images, `append` adds a caption to each.

        vila2 caption photos --model qwen3-vl
        vila2 caption photos --model qwen3-vl --prompts prompts.yaml --budget 20
    """
    said = read_prompts(prompt or [], prompts, system)
    sampling = Sampling(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens)
    gate = Gate(attempts=attempts, language=language)
    ref, number = split_version(dataset)
    with session.client() as client:
        version = client.datasets.version(ref, number)
        if estimate:
            asked = PreviewIn(
                dataset=ref, version=version.version, model=model, prompts=said.prompts,
                system=said.system, sampling=sampling, gate=gate, seed=seed,
            )  # fmt: skip
            found = client.caption.estimate(asked)
            session.show(found, lambda: in_words(found))
            return
        registered = client.training.model(_behind(client, model))
        layer_name = name or registered.short_name or registered.name
        base = None if mode == "overwrite" else _earlier(client, ref, version.version, layer_name)
        body = CaptionJobIn(
            name=layer_name, dataset=ref, version=version.version, model=registered.name,
            prompts=said.prompts, system=said.system, sampling=sampling, gate=gate, seed=seed,
            mode=mode if base else "overwrite", base_layer=base.id if base else "", budget=budget,
        )  # fmt: skip
        job = _started(client, body)
        if detach and session.is_served:
            session.show(job, lambda: f"job {job.id}: `vila2 captions jobs` shows how far it is")
            return
        follow(session, client, job)


def follow(session: Session, client: Client, job: CaptionJob) -> None:
    """Show a job's progress until it ends.

    Exit status 1 unless its layer is sealed.
    """
    try:
        job = _followed(client, job) if not session.json else _waited(client, job)
    except KeyboardInterrupt:
        job = client.caption.job(job.id)
        kept = f"{job.progress.done:,} of {job.progress.total:,} images are done and kept"
        if session.is_served:
            say(f"\n{kept}. The server goes on; `vila2 captions pause {job.id}` pauses it")
        else:
            say(f"\n{kept}. The same command resumes")
        raise typer.Exit(130) from None
    session.show(job, lambda: _outcome(job))
    if job.state != "sealed":
        raise typer.Exit(1)


def in_words(found: Estimate) -> str:
    """An estimate as a sentence."""
    cost = f", cost {found.cost:,.2f}" if found.cost else ""
    return (
        f"{counted(found.samples, 'image')}: about {duration(found.seconds)}, "
        f"{found.prompt_tokens:,} prompt and {found.tokens:,} generated tokens{cost}\n"
        f"(from {counted(found.sampled, 'image')}; a job's larger batches are faster)"
    )


def _behind(client: Client, model: str) -> str:
    """The model behind an endpoint's name, or the name itself."""
    names = {endpoint.name: endpoint.model for endpoint in client.caption.endpoints()}
    return names.get(model) or model


def _earlier(client: Client, dataset: str, version: int, name: str) -> Layer | None:
    """The newest sealed layer of the same name over an earlier version, or none."""
    held = [
        layer
        for layer in client.datasets.layers()
        if (layer.dataset, layer.name, layer.state) == (dataset, name, "sealed")
        and layer.version < version
    ]
    return max(held, key=lambda layer: layer.version, default=None)


def _started(client: Client, body: CaptionJobIn) -> CaptionJob:
    """The job of this request: an existing one, resumed if it stopped, or a new one."""
    same = body.model_copy(update={"budget": None})
    digest = hashlib.sha256(canonical_json(same.model_dump(mode="json"))).hexdigest()[:32]
    for number in range(1000):
        job = client.caption.start_job(body, f"caption:{digest}:{number}")
        if job.state == "failed":
            return client.caption.retry_failed(job.id)
        if job.state == "paused":
            return client.caption.resume_job(job.id, budget=body.budget)
        if job.state != "cancelled":
            return job
    raise CliError(f"{body.name} was cancelled 1,000 times; use another --name")


def _waited(client: Client, job: CaptionJob) -> CaptionJob:
    while job.state == "running":
        time.sleep(_POLL_SECONDS)
        job = client.caption.job(job.id)
    return job


def _followed(client: Client, job: CaptionJob) -> CaptionJob:
    say(f"job {job.id}: {job.dataset}@{job.version} by {job.model}")
    seen: deque[tuple[float, int]] = deque()
    with progress_bar() as bar:
        task = bar.add_task("captioning", total=job.progress.total, completed=job.progress.done)
        while True:
            now = time.monotonic()
            seen.append((now, job.progress.done))
            while now - seen[0][0] > _WINDOW_SECONDS:
                seen.popleft()
            bar.update(task, completed=job.progress.done, description=_state(job, seen))
            if job.state != "running":
                return job
            time.sleep(_POLL_SECONDS)
            job = client.caption.job(job.id)


def _state(job: CaptionJob, seen: deque[tuple[float, int]]) -> str:
    """Images done out of all, rate, cost, and why a job waits; the bar adds the time left."""
    done, total = job.progress.done, job.progress.total
    parts = [f"{done:,} of {total:,} images"]
    (first, before), (last, now) = seen[0], seen[-1]
    if last > first and now > before:
        parts.append(f"{(now - before) / (last - first):.1f}/s")
    if job.cost:
        parts.append(f"cost {job.cost:.2f}")
    if job.progress.phase not in ("", "captioning"):
        parts.append(job.progress.phase)
    return ", ".join(parts)


def _outcome(job: CaptionJob) -> str:
    lost = sum(job.quarantined.values())
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(job.quarantined.items()))
    cost = f", cost {job.cost:.2f}" if job.cost else ""
    counts = f"{job.captioned:,} captioned, {lost:,} quarantined{cost}"
    lines = [counts + (f": {reasons}" if reasons else "")]
    if job.state == "sealed":
        lines.append(f"layer {job.layer}; look: vila2 captions show {job.dataset}")
        if lost:
            lines.append(f"try the quarantined again: vila2 captions retry {job.dataset}")
    elif job.state == "paused":
        lines.append(f"paused: {job.progress.phase}")
        lines.append(f"go on: vila2 captions resume {job.id} (--budget N for a new budget)")
    elif job.state == "failed":
        lines.append(f"failed: {job.error}")
        lines.append(f"try again: vila2 captions retry {job.dataset}, or the same command")
    else:
        lines.append(f"{job.state}")
    return "\n".join(lines)
