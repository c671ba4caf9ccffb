"""`vila2 captions preview | jobs | pause | resume | cancel | retry`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from vila2.cli.captions.caption import (
    Dataset,
    Language,
    Model,
    PromptOption,
    PromptsFile,
    Seed,
    System,
    Temperature,
    Tokens,
    TopP,
    follow,
)
from vila2.cli.captions.prompts import read_prompts
from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.datasets import split_version
from vila2.client import Client
from vila2.client.gallery import Shown, write_gallery
from vila2.schemas.rest.caption import CaptionJob, CaptionJobIn, PreviewCaption, PreviewIn
from vila2.schemas.sampling import Gate, Sampling
from vila2.system.numbers import counted
from vila2.system.terminal import moment, number, say, sentence, table

JobId = Annotated[str, typer.Argument(help="Id of a job, as listed by `vila2 captions jobs`.")]


def register(app: Group) -> None:
    """Add the commands to `vila2 captions`."""
    for name, command in (
        ("preview", preview),
        ("jobs", jobs),
        ("pause", pause),
        ("resume", resume),
        ("cancel", cancel),
        ("retry", retry),
    ):
        app.command(name)(command)


def preview(
    session: Session,
    dataset: Dataset,
    model: Model,
    prompt: PromptOption = None,
    prompts: PromptsFile = None,
    system: System = "",
    count: Annotated[
        int, typer.Option(min=1, max=64, help="Number of samples, drawn with --seed.")
    ] = 8,
    max_new_tokens: Tokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    language: Language = "any",
    seed: Seed = 0,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with images and captions to this file.")
    ] = None,
) -> None:
    """Caption a few samples as `vila2 caption` would, without creating a layer.

    Use it to compare prompts before a job: the same samples are drawn for the same --seed.

        vila2 captions preview photos --model qwen3-vl --count 20 --html preview.html
    """
    said = read_prompts(prompt or [], prompts, system)
    ref, version = split_version(dataset)
    body = PreviewIn(
        dataset=ref,
        version=version,
        count=count,
        model=model,
        prompts=said.prompts,
        system=said.system,
        sampling=Sampling(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens),
        gate=Gate(language=language),
        seed=seed,
    )
    with session.client() as client:
        found = client.caption.preview(body)
        session.show(
            found,
            lambda: table("sample", "caption", number("tokens"), rows=map(_row, found.captions)),
        )
        if html is not None:
            write_gallery(
                html,
                f"{dataset} by {model}",
                (_shown(client, body, made) for made in found.captions),
            )
            say(f"images and captions: {html}")
    if not session.json:
        cost = f", cost {found.cost:.4f}" if found.cost else ""
        say(f"{counted(len(found.captions), 'image')} in {found.seconds:.1f} s{cost}", style="dim")


def _row(made: PreviewCaption) -> tuple[str, Text, str]:
    if made.reason:
        text = sentence(f"quarantined: {made.reason}\n{made.caption}", style="yellow")
    else:
        text = sentence(made.caption)
    return made.key, text, f"{made.tokens}"


def _shown(client: Client, body: PreviewIn, made: PreviewCaption) -> Shown:
    image = client.datasets.image(body.dataset, body.version, made.key)
    reason = f"quarantined ({made.reason}): " if made.reason else ""
    return Shown(made.key, image, {made.prompt: f"{reason}{made.caption}"})


def jobs(
    session: Session,
    count: Annotated[
        int, typer.Option(min=1, max=1000, help="Maximum number of jobs to list.")
    ] = 20,
) -> None:
    """List caption jobs, newest first."""
    with session.client() as client:
        found = [job for job, _ in zip(client.caption.jobs(page=count), range(count), strict=False)]
    columns = (
        "job", "name", "dataset", "state", number("done"), number("of"), number("cost"),
        "created (UTC)", "",
    )  # fmt: skip
    session.show(found, lambda: table(*columns, rows=[
        (
            job.id, job.name, f"{job.dataset}@{job.version}", job.state,
            f"{job.progress.done:,}", f"{job.progress.total:,}",
            f"{job.cost:.2f}" if job.cost else "", moment(job.created_at),
            job.error or _waiting(job),
        )
        for job in found
    ]))  # fmt: skip


def _waiting(job: CaptionJob) -> str:
    return "" if job.progress.phase in ("", "captioning") else job.progress.phase


def pause(session: Session, job: JobId) -> None:
    """Start no further shards; `resume` continues the job."""
    with session.client() as client:
        held = client.caption.pause_job(job)
    session.show(held, lambda: f"{held.id} is paused: `vila2 captions resume {held.id}` goes on")


def resume(
    session: Session,
    job: JobId,
    budget: Annotated[float | None, typer.Option(help="A new budget for the whole job.")] = None,
) -> None:
    """Resume a paused job, and follow it."""
    with session.client() as client:
        follow(session, client, client.caption.resume_job(job, budget=budget))


def cancel(session: Session, job: JobId) -> None:
    """Stop a job permanently; its layer stays open and is not used."""
    with session.client() as client:
        held = client.caption.cancel_job(job)
    session.show(held, lambda: f"{held.id} is {held.state}")


def retry(
    session: Session,
    dataset: Annotated[str, typer.Argument(help="Dataset whose newest caption job to retry.")],
    job: Annotated[str, typer.Option(help="Retry this job instead.")] = "",
) -> None:
    """Retry failed shards; of a finished job, the quarantined samples, with another seed.

    The layer of a finished job is not changed. A new layer takes over its captions and adds those
    that the retried samples get.
    """
    with session.client() as client:
        held = client.caption.job(job) if job else _newest(client, dataset)
        if held.state == "failed":
            follow(session, client, client.caption.retry_failed(held.id))
        elif held.state != "sealed":
            raise CliError(f"{held.id} is {held.state}: nothing to try again")
        elif not held.quarantined:
            raise CliError(f"{held.id} has no quarantined samples")
        else:
            before = client.caption.job_request(held.id)
            again = CaptionJobIn.model_validate(
                before.model_dump()
                | {"mode": "keep", "base_layer": held.layer, "seed": before.seed + 1}
            )
            follow(session, client, client.caption.start_job(again, f"retry:{held.id}"))


def _newest(client: Client, dataset: str) -> CaptionJob:
    ref, version = split_version(dataset)
    for job in client.caption.jobs():
        if job.dataset == ref and version in (0, job.version):
            return job
    raise CliError(f"no caption job of {dataset}: `vila2 caption {dataset} --model M` starts one")
