"""What extras of the project in this folder ask of others, a line each.

    python deploy/requirements.py serve cluster

An image installs these in a layer of their own, before the project's own files are there.
"""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]


def asked(extra: str) -> list[str]:
    """The extra's requirements; those of extras it names included."""
    found = []
    for line in project["optional-dependencies"][extra]:
        own = re.fullmatch(rf"{project['name']}\[(.+)\]", line)
        found += [x for name in own[1].split(",") for x in asked(name)] if own else [line]
    return found


if __name__ == "__main__":
    lines = [*project["dependencies"], *(line for name in sys.argv[1:] for line in asked(name))]
    sys.stdout.write("\n".join(dict.fromkeys(lines)) + "\n")
