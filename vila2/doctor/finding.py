"""A finding: the check, its result, and the fix if there is a problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from vila2.system.terminal import table

State = Literal["ok", "warning", "problem"]
_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` is an instruction to the operator, empty if the check passed."""

    check: str
    state: State
    found: str
    fix: str = ""


def ok(check: str, found: str) -> Finding:
    """A passed check."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, *, fix: str) -> Finding:
    """A check with a defect that does not stop the platform."""
    return Finding(check, "warning", found, fix)


def problem(check: str, found: str, *, fix: str) -> Finding:
    """A failed check."""
    return Finding(check, "problem", found, fix)


def attempted(
    check: str, look: Callable[[], str], *, fix: str, trouble: type[Exception] = Exception
) -> Finding:
    """The result of `look`, or a problem with the message of the error that it raised."""
    try:
        return ok(check, look())
    except trouble as error:
        said = str(error).strip() or type(error).__name__
        return problem(check, said.splitlines()[0][:300], fix=fix)


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether no finding is a problem."""
    return all(finding.state != "problem" for finding in findings)


def as_table(findings: Sequence[Finding]) -> Table:
    """A table for the terminal, with the fixes."""
    rows = [(Text(f.state, style=_STYLES[f.state]), f.check, f.found, f.fix) for f in findings]
    return table("", "what", "found", "what to do", rows=rows)


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """JSON for programs: `{"healthy": ..., "findings": [{check, state, found, fix}]}`."""
    return {"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}
