"""Keys of before there was a database of them: the workspace's `keys.json` is taken over whole.

Its pepper joins those that are known, its keys become rows, and the file is put aside under another
name. It can stop between any two steps and begin again.
"""

from __future__ import annotations

import json
from pathlib import Path

from services.chassis.database import Database, exclusively
from services.chassis.identity.peppers import add_private, pepper_name, write_private
from services.chassis.identity.tables import KeyRow, TeamRow

KEYS_FILE = "keys.json"
PEPPER_FILE = "pepper"


def take_over_pepper(workspace: Path) -> None:
    """Let the file of peppers have the one of `keys.json`: before peppers are read."""
    old, path = workspace / KEYS_FILE, workspace / PEPPER_FILE
    if not old.exists():
        return
    pepper = json.loads(old.read_text())["pepper"]
    if not add_private(path, f"{pepper}\n") and pepper not in path.read_text().split():
        write_private(path, f"{path.read_text()}{pepper}\n")


def take_over_keys(workspace: Path, database: Database) -> int:
    """Make rows of the keys in `keys.json`, and put the file aside; returns how many are new."""
    old = workspace / KEYS_FILE
    try:
        held = json.loads(old.read_text())
    except FileNotFoundError:  # nothing to take over, or another process has just done it
        return 0
    pepper, taken = pepper_name(held["pepper"]), 0
    with database.transaction() as session:
        exclusively(session, "take-over")
        for prefix, entry in held["keys"].items():
            if session.get(KeyRow, prefix) is not None:
                continue
            if session.get(TeamRow, entry["team"]) is None:
                session.add(TeamRow(name=entry["team"]))
                session.flush()
            session.add(
                KeyRow(
                    prefix=prefix,
                    hmac=entry["hmac"],
                    pepper=pepper,
                    team=entry["team"],
                    name="taken over from keys.json",
                    scopes=entry["scopes"],
                )
            )
            taken += 1
    old.rename(old.with_name(f"{KEYS_FILE}.taken-over"))
    return taken
