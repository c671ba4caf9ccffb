"""The table of what came of each fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.support.chaos.trial import Reference, Trial

_HEAD = """| fault | lasted, s | goes on after, s | run took, s | lost | doubled | same result |
| --- | ---: | ---: | ---: | ---: | ---: | --- |
"""


def line(trial: Trial) -> str:
    """One row."""
    if trial.said:
        return f"| {trial.fault} | | | | | | {trial.said[:300]} |".replace("\n", " ")
    said = f"NO: {', '.join(trial.differs)}" if trial.differs else "yes"
    return (
        f"| {trial.fault} | {trial.lasted:.0f} | {trial.recovery:.1f} | {trial.seconds:.0f} "
        f"| {trial.lost} | {trial.doubled} | {said} |"
    )


def table(trials: Sequence[Trial], references: Mapping[bool, Reference]) -> str:
    """All of them, as Markdown."""
    took = " and ".join(
        f"{held.seconds:.0f} s {'with' if specialists else 'without'} a specialist"
        for specialists, held in sorted(references.items())
    )
    rows = "\n".join(line(trial) for trial in trials)
    return f"The undisturbed run took {took}.\n\n{_HEAD}{rows}\n"
