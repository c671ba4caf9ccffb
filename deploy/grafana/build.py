"""Write the dashboards: `python deploy/grafana/build.py [FOLDER]`, by default `dashboards/`.

The JSON is checked in, so that Grafana needs nothing of this; a test builds it again and compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

from boards import captioning, platform, runs, training
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from panels import built

BOARDS = {
    "run-overview": runs.BOARD,
    "captioning": captioning.BOARD,
    "training": training.BOARD,
    "platform": platform.BOARD,
}


def main(folder: Path) -> None:
    """One file for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, board in BOARDS.items():
        text = JSONEncoder(sort_keys=True, indent=1).encode(built(board))
        (folder / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
