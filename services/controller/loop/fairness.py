"""Fair ordering of runs for the reconciler, so that no team is starved. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest

from services.controller.tables import RunRow


def fair_order(runs: Sequence[RunRow], turns: Mapping[str, int]) -> list[RunRow]:
    """Take teams in turn, each with its least recently reconciled run.

    `turns` maps a run to the number of the look that it was last part of; a run that is not in it
    has waited the longest. A team with a hundred runs has its next run after one of every other's.
    """
    by_team: dict[str, list[RunRow]] = {}
    for run in sorted(runs, key=lambda run: (turns.get(run.id, -1), run.created_at, run.id)):
        by_team.setdefault(run.team, []).append(run)
    rows = zip_longest(*by_team.values())
    return [run for run in chain.from_iterable(rows) if run is not None]
