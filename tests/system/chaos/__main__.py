"""Break the platform in every way that we know, and print what came of it.

python -m tests.system.chaos                      # all faults, about 20 minutes
python -m tests.system.chaos --only PostgreSQL    # those with this in their name
python -m tests.system.chaos --write docs/x.md    # the table as Markdown, too
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.support.chaos.faults import FAULTS
from tests.support.chaos.stack import stack
from tests.support.chaos.table import line, table
from tests.support.chaos.trial import Reference, submitted, tried, undisturbed


def main() -> int:
    """Returns the number of faults that made a difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[""], help="faults with this in their name")
    parser.add_argument("--write", type=Path, help="a file for the table")
    parser.add_argument("--keep", type=Path, help="a folder for logs and data, kept at the end")
    given = parser.parse_args()
    chosen = [
        fault for part in given.only for fault in FAULTS if part.lower() in fault.name.lower()
    ]
    # Told to end, it ends what it has started.
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, lambda *_: sys.exit(1))
    made, references = [], dict[bool, Reference]()
    with tempfile.TemporaryDirectory(prefix="vila2-chaos-") as name:
        folder = given.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        with stack(folder) as platform:
            submitted(platform, folder / "world")
            for fault in chosen:
                reference = references.get(fault.specialists)
                if reference is None:
                    reference = undisturbed(platform, specialists=fault.specialists)
                    references[fault.specialists] = reference
                    print(f"undisturbed: {reference.seconds:.0f} s", flush=True)
                made.append(tried(platform, fault, reference))
                print(line(made[-1]), flush=True)
    if given.write:
        given.write.write_text(table(made, references))
    return sum(not trial.survived for trial in made)


if __name__ == "__main__":
    sys.exit(main())
