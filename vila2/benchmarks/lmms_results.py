"""Reads the output of `lmms-eval`: its results file and the samples beside it.

The layout is that of lmms-eval 0.7.3 (`loggers/evaluation_tracker.py` and `evaluator_utils.py` of
its wheel): `DATE_results.json` with `results[TASK]["METRIC,FILTER"]`, standard errors under
`METRIC_stderr,FILTER`, `versions`, `n-samples`, `model_name`; and `DATE_samples_TASK.jsonl`, a line
for each question with `doc_id`, `target`, `filtered_resps` and, under each metric's name, a number
or an object whose `score` is one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vila2.benchmarks.source import field_of, read_json
from vila2.data.errors import DataError
from vila2.data.readers.json_rows import BadRow, read_lines
from vila2.evaluation.statistics.bootstrap import mean_interval
from vila2.schemas.rest.training import ImportedOutcome, ImportedScore

SOURCE = "lmms-eval"
_RESULTS = "_results.json"
_FAILED = ("[LMMS_EVAL_REQUEST_FAILED", "[LMMS_EVAL_BUDGET_EXCEEDED")
_ERROR_OF = re.compile(r"_stderr(_clt|_clustered)?$")
_LONGEST = 32_000
_NO_METRICS = {
    "doc_id", "target", "filtered_resps", "resps", "token_counts", "doc_hash", "input",
    "input_media",
}  # fmt: skip
_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class LmmsRun:
    """One run's scores and outcomes; `unread` names metrics that are not a single number."""

    model: str
    scores: list[ImportedScore]
    outcomes: list[ImportedOutcome]
    unread: list[str]
    about: dict[str, str]


@dataclass(slots=True)
class _Samples:
    """A task's items: their outcomes, and the scores of those metrics that have one each."""

    outcomes: list[ImportedOutcome] = field(default_factory=list)
    by_metric: dict[str, list[float]] = field(default_factory=dict)


def read_run(path: Path) -> LmmsRun:
    """Read a results file, or a folder that holds exactly one, with the samples beside it.

    Raises `DataError` for a file of another layout, and for a run in which a request failed:
    lmms-eval scores an error message as the model's answer.
    """
    file = _results_file(path)
    try:
        return _run(file)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"holds what the registry does not take: {first['msg']}",
            file=str(file),
            field=".".join(str(part) for part in first["loc"]),
        ) from error


def _run(file: Path) -> LmmsRun:
    held = read_json(file)
    results = field_of(held, "results", dict, where=file.name)
    versions, counts = (
        field_of(held, name, dict, where=file.name) if name in held else {}
        for name in ("versions", "n-samples")
    )
    scores: list[ImportedScore] = []
    outcomes: list[ImportedOutcome] = []
    unread: list[str] = []
    for task, found in results.items():
        if not isinstance(found, dict):
            raise DataError("is no object of metrics", file=str(file), field=f"results.{task}")
        samples = _samples(file, task)
        outcomes += samples.outcomes
        items = _count(counts.get(task), len(samples.outcomes))
        for name, value in found.items():
            metric, comma, filtered = name.partition(",")
            if not comma or _ERROR_OF.search(metric):
                continue
            known_as = metric if filtered == "none" else f"{metric},{filtered}"
            if not _is_number(value):
                if value not in (None, "", [], "N/A"):
                    unread.append(f"{task}/{known_as}")
                continue
            low, high = _interval(
                float(value),
                samples.by_metric.get(metric, []) if filtered == "none" else [],
                found.get(f"{metric}_stderr,{filtered}"),
            )
            scores.append(
                ImportedScore(
                    benchmark=task,
                    version=str(versions.get(task, "")),
                    metric=known_as,
                    value=float(value),
                    low=low,
                    high=high,
                    items=items,
                )
            )
    if not scores:
        raise DataError("holds no score", file=str(file), field="results", fix="Run it again")
    about = {"file": file.name, "date": str(held.get("date") or file.name[: -len(_RESULTS)])}
    return LmmsRun(str(held.get("model_name") or ""), scores, outcomes, unread, about)


def _results_file(path: Path) -> Path:
    if path.is_file():
        if not path.name.endswith(_RESULTS):
            raise DataError(f"does not end in {_RESULTS}", file=str(path), fix="Give that file")
        return path
    found = sorted(path.rglob(f"*{_RESULTS}")) if path.is_dir() else []
    if not found:  # lmms-eval exits with 0 even if it failed
        raise DataError(
            "holds no results file",
            file=str(path),
            fix="Read what lmms-eval printed, and run it again",
        )
    if len(found) > 1:
        names = ", ".join(str(each.relative_to(path)) for each in found)
        raise DataError(
            f"holds several results files: {names}", file=str(path), fix="Name one of them"
        )
    return found[0]


def _samples(results: Path, task: str) -> _Samples:
    """The samples of a task; none if the run did not log them."""
    date = results.name[: -len(_RESULTS)]
    file = results.with_name(f"{date}_samples_{Path(task).name}.jsonl")
    samples = _Samples()
    if not file.is_file():
        return samples
    failed = 0
    for number, row in read_lines(file):
        place = f"{file.name} line {number}"
        if isinstance(row, BadRow):
            raise DataError(f"{place}: {row}", fix="Run lmms-eval again")
        outcome = ImportedOutcome(
            benchmark=task,
            item=str(field_of(row, "doc_id", (int, str), where=place)),
            answer=_text(row.get("filtered_resps", "")),
            expected=_text(row.get("target", "")),
            scores=_scores(row),
        )
        failed += outcome.answer.startswith(_FAILED)
        samples.outcomes.append(outcome)
        for name, value in outcome.scores.items():
            samples.by_metric.setdefault(name, []).append(value)
    if failed:
        raise DataError(
            f"{failed} of {len(samples.outcomes)} requests failed, and were scored as answers",
            file=str(file),
            fix="Look at the caption service's log, and run lmms-eval again",
        )
    return samples


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    """An item's numbers by metric: plain, or the `score` of an object."""
    found = {}
    for name, value in row.items():
        number: Any = value.get("score") if isinstance(value, dict) else value
        if name not in _NO_METRICS and _is_number(number):
            found[name] = float(number)
    return found


def _interval(value: float, items: list[float], error: object) -> tuple[float | None, float | None]:
    """The 95% interval: resampled if `value` is the items' mean, else by the standard error.

    A value that is not the mean and has no standard error has no interval.
    """
    if items and math.isclose(math.fsum(items) / len(items), value, abs_tol=1e-9):
        resampled = mean_interval(items)
        return resampled.low, resampled.high
    if _is_number(error):
        width = _NORMAL_95 * float(error)  # type: ignore[arg-type] # a number, as just asked
        return value - width, value + width
    return None, None


def _count(stated: object, logged: int) -> int:
    """Number of a task's items: as stated by the run, else the number of its samples."""
    effective = stated.get("effective") if isinstance(stated, dict) else None
    return int(effective) if _is_number(effective) else logged  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _text(value: object) -> str:
    """A response or target as text, cut to the maximum length of an outcome."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:_LONGEST]
