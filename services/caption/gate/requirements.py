"""What a gate needs that this installation may not have, refused before any work is queued."""

from __future__ import annotations

from services.caption.gate import detector
from services.caption.gate.language import ENGLISH
from services.chassis.web.errors import Invalid
from vila2.schemas.sampling import Gate


def detector_version(gate: Gate) -> str | None:
    """The version of the language detector that decides for this gate; `None` if none does."""
    if gate.languages in ((), (ENGLISH,)):
        return None
    return detector.installed_version()


def check_languages(gate: Gate) -> None:
    """Raise `Invalid` if the gate asks for languages and there is no detector to tell them."""
    if gate.languages in ((), (ENGLISH,)) or detector.installed_version() is not None:
        return
    raise Invalid(
        f"no language detector is installed that could tell {' or '.join(gate.languages)}",
        field="gate.language",
        fix="`pip install 'vila2[language]'` where captions are made, or ask for 'en' or 'any'",
    )
