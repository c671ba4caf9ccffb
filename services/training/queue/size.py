"""How much of the machines one job may take. Pure."""

from __future__ import annotations

from services.chassis.web.errors import Invalid
from vila2.schemas.rest import training as api

# Threads that decode images wait for disks, so there may be more of them than cores.
LOADERS_PER_CPU = 4
SETTING = "VILA2_TRAINING_MAX_CPUS"


def check_size(body: api.JobIn, most: int) -> None:
    """Raise `Invalid` if a job would take more than `most` CPUs.

    A job takes its processes times the threads of each; its image loaders are bounded by the same
    number. Without this, a request would start as many processes as it names.
    """
    processes, field = (body.train.processes, "train") if body.train else (1, "evaluate")
    work = body.train or body.evaluate
    if work is None:
        return
    _check(processes, work.threads, most, f"{field}.threads", "threads")
    if body.train:
        loaders = body.train.loaders
        _check(processes, loaders, LOADERS_PER_CPU * most, "train.loaders", "loaders")


def _check(processes: int, each: int, most: int, field: str, what: str) -> None:
    if processes * each > most:
        raise Invalid(
            f"{processes:,} processes of {each:,} {what} are {processes * each:,}, and a job here "
            f"may have {most:,}",
            field="train.processes" if processes > most else field,
            fix=f"ask for fewer, or have the operator raise {SETTING}",
        )
