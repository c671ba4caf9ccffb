"""Refuses a gate that this installation cannot apply, before any work is queued."""

from __future__ import annotations

from services.caption.gate import detector
from services.caption.gate.language import ENGLISH
from services.chassis.web.errors import Invalid
from vila2.schemas.sampling import Gate


def detector_version(gate: Gate) -> str | None:
    """The version of the language detector that this gate uses; `None` if it uses none."""
    if gate.languages in ((), (ENGLISH,)):
        return None
    return detector.installed_version()


def check_languages(gate: Gate) -> None:
    """Raise `Invalid` if the gate lists languages and no language detector is installed."""
    if gate.languages in ((), (ENGLISH,)) or detector.installed_version() is not None:
        return
    raise Invalid(
        f"no language detector is installed that could tell {' or '.join(gate.languages)}",
        field="gate.language",
        fix="`pip install 'vila2[language]'` where captions are made, or ask for 'en' or 'any'",
    )
