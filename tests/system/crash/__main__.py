"""Kill the platform at every moment of a run, each by itself, and see that it ends the same.

    python -m tests.system.crash             # all of them; prints a line per kind of moment
    python -m tests.system.crash --every 10  # every tenth; --first 2 for those beside

Each moment takes two processes: one that is killed there, and one that carries the run to its end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support.crash.forked_runs import moments, result, survives
from tests.support.runs.stepped_platform import workspace


def main() -> int:
    """Returns the number of moments after which something was different."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="the moment to begin with")
    given = parser.parse_args()
    survived, wrong, began = Counter[str](), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = workspace(folder)
        names = moments(world, folder / "undisturbed")
        expected = result(folder / "undisturbed")
        chosen = range(given.first, len(names) + 1, given.every)
        print(f"{len(names)} moments, {len(chosen)} of them tried", flush=True)
        for done, number in enumerate(chosen, 1):
            kind, same = names[number - 1], survives(world, folder / "there", number, expected)
            (survived if same else wrong)[kind] += 1
            if not same:
                print(f"DIFFERENT after {kind} (moment {number})", flush=True)
            if done % 20 == 0:
                left = (time.monotonic() - began) / done * (len(chosen) - done)
                print(f"{done} of {len(chosen)}, about {left / 60:.0f} minutes left", flush=True)
    for kind in sorted(survived | wrong):
        print(f"{kind:45} survived {survived[kind]:4}  different {wrong[kind]:4}")
    print(f"{survived.total()} survived, {wrong.total()} different")
    return wrong.total()


if __name__ == "__main__":
    sys.exit(main())
