"""The batch script of a job: a pure function of a command and the site's options.

Slurm signals the batch shell alone, and `srun` ends its tasks on SIGTERM instead of passing it on,
so the shell signals the step through `scancel`. USR1, which Slurm sends before the time limit,
means checkpoint and queue again; USR2, which `SlurmBackend.stop` sends, means checkpoint and exit.
On SIGTERM (requeue, preemption, drain) Slurm has signalled the step itself.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from services.training.backends.backend import INTERRUPTED, Command, Resources


@dataclass(frozen=True, slots=True)
class SlurmOptions:
    """A site's sbatch options; empty values are left to Slurm's defaults.

    `python` is the interpreter as the nodes see it, `setup` shell lines before the job.
    """

    python: str
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    setup: str = ""


def comment(attempt: int) -> str:
    """The Slurm comment that identifies one start of a key."""
    return f"vila2 attempt {attempt}"


def attempt_of(text: str) -> int:
    """The attempt in a comment; 0 if the comment was changed."""
    number = text.rpartition(" ")[2]
    return int(number) if text.startswith("vila2 attempt ") and number.isdigit() else 0


def batch_script(key: str, command: Command, needs: Resources, options: SlurmOptions) -> str:
    """The script that runs a command's spec."""
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in _options(key, command, needs, options)),
        "",
        f"python={shlex.quote(options.python)}",
        f"spec={shlex.quote(str(command.spec))}",
        'export folder; folder=$(dirname "$spec")',
        'rm -f "$folder"/exit*.json "$folder/error.txt" "$folder/finished"',
        f"export OMP_NUM_THREADS={command.threads} TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1",
        *(options.setup.splitlines()),
        "",
        "wish=",
        'ask() { wish=$1; scancel --signal=TERM "$SLURM_JOB_ID"; }',
        "trap 'ask requeue' USR1",
        "trap 'ask leave' USR2",
        "trap 'wish=leave' TERM",
        # srun ends with 0 too when it waits in vain for a step that was ended, so the task itself
        # says that it succeeded. It must outlive its own SIGTERM, for Slurm ends a step with it.
        'task=\'trap : TERM; export PET_NODE_RANK=$SLURM_NODEID; "$@"; code=$?',
        '[ "$code$SLURM_NODEID" != 00 ] || : >"$folder/finished"; exit "$code"\'',
        *_launch(command, needs),
        "step=$!",
        'while kill -0 "$step" 2>/dev/null; do wait "$step"; done',
        'wait "$step"',
        "status=$?",
        f'if [ "$status" != 0 ] && [ -n "$wish" ]; then status={INTERRUPTED}; fi',
        f'if [ "$status" = {INTERRUPTED} ] && [ "$wish" != leave ]; then',
        '    scontrol requeue "$SLURM_JOB_ID" && sleep 60  # Slurm ends this shell',
        "fi",
        # Killed from outside. The dispatcher starts it again, which counts how often.
        f'if [ "$status" = 137 ]; then status={INTERRUPTED}; fi',
        f'if [ "$status" = 0 ] && [ ! -e "$folder/finished" ]; then status={INTERRUPTED}; fi',
        'echo "{\\"status\\": $status}" >"$folder/exit.json.partial"',
        'mv "$folder/exit.json.partial" "$folder/exit.json"',
        'exit "$status"',
        "",
    ]
    return "\n".join(lines)


def _options(key: str, command: Command, needs: Resources, options: SlurmOptions) -> list[str]:
    log = str(command.folder / "log.txt").replace("%", "%%")
    asked = [
        f"--job-name={key}",
        f"--comment={shlex.quote(comment(command.attempt))}",
        f"--output={shlex.quote(log)}",
        "--open-mode=append",
        f"--chdir={shlex.quote(str(command.folder))}",
        "--requeue",
        f"--nodes={needs.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={needs.cpus}",
    ]
    if needs.gpus:
        asked.append(f"--gres=gpu:{needs.gpus}")
    if needs.memory:
        asked.append(f"--mem={needs.memory}M")
    if needs.seconds:
        asked.append(f"--time={-(-needs.seconds // 60)}")  # whole minutes, rounded up
        asked.append(f"--signal=B:USR1@{needs.notice}")
    site = {
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
    }
    return asked + [f"--{name}={shlex.quote(value)}" for name, value in site.items() if value]


def _launch(command: Command, needs: Resources) -> list[str]:
    # A step takes no CPUs of its task from the job by itself in newer versions of Slurm.
    srun = f'srun --cpus-per-task={needs.cpus} --kill-on-bad-exit=0 bash -c "$task" task "$python"'
    run = f'-m {command.module} --spec "$spec" &'
    torchrun = "-m torch.distributed.run --max-restarts=0"
    if needs.nodes * needs.processes == 1:
        return [f"{srun} {run}"]
    if needs.nodes == 1:
        return [
            f"{srun} {torchrun} --standalone \\",
            f"    --nproc-per-node={needs.processes} {run}",
        ]
    # A node's name is Slurm's own; its address is where the others reach it.
    return [
        'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "address=$(scontrol show node -o \"$first\" | tr ' ' '\\n' | sed -n 's/^NodeAddr=//p')",
        f"{srun} {torchrun} \\",
        f"    --nnodes={needs.nodes} --nproc-per-node={needs.processes} \\",
        '    --master-addr="$address" --master-port=$((20000 + SLURM_JOB_ID % 10000)) \\',
        f"    {run}",
    ]
