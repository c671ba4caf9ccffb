"""The first thing that a reader sees: which model to use, how sure that is, what it cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from vila2.evaluation.report.findings import and_list
from vila2.evaluation.report.model import Difference, Round, RunReport
from vila2.evaluation.report.wording import duration, signed


@dataclass(frozen=True, slots=True)
class Command:
    """A command to type, and what it does."""

    text: str
    says: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in a few sentences; `model` is the winner's id, empty before there is one."""

    headline: str
    gain: str = ""
    model: str = ""
    trust: list[str] = field(default_factory=list)
    cost: str = ""
    commands: list[Command] = field(default_factory=list)


def summary(report: RunReport) -> Summary:
    """Summarise the run; claims no more than its verdicts."""
    rounds = report.main_rounds
    if not any(held.verdict for held in rounds):
        run = report.run.id
        return Summary(
            "No round has a verdict yet.",
            cost=_cost(report),
            commands=[Command(f"vila2 runs resume {run}", "follows or continues the run")],
        )
    won = winner(report)
    if won is None:
        best = next((held for held in rounds if held.kind == "baseline"), rounds[0])
        return Summary(
            f"No round is measurably better than {_quoted(best.name)}: "
            "use its model, or change the recipe.",
            _last(report),
            best.model,
            _trust(report, None),
            _cost(report),
            [_branch(report, best), *_use(report, best)],
        )
    since = won.since_baseline or won.verdict
    assert since is not None
    against = "round 0" if won.since_baseline else "the best round before it"
    return Summary(
        f"Use the model of {_quoted(won.name)}.",
        f"{signed(since.difference)} points of the macro score over {against} "
        f"(interval {_interval(since)}).",
        won.model,
        _trust(report, won),
        _cost(report),
        _use(report, won),
    )


def winner(report: RunReport) -> Round | None:
    """The last round of the method that was judged improved; `None` if none was."""
    improved = [r for r in report.main_rounds if r.verdict and r.verdict.kind == "improved"]
    return improved[-1] if improved else None


def _last(report: RunReport) -> str:
    """How far the last round is from round 0, although it is no improvement."""
    last = report.main_rounds[-1]
    if last.since_baseline is None:
        return ""
    return (
        f"The last round, {_quoted(last.name)}, is {signed(last.since_baseline.difference)} points "
        f"of the macro score from round 0 (interval {_interval(last.since_baseline)})."
    )


def _interval(found: Difference) -> str:
    return f"{signed(found.low)} to {signed(found.high)}"


def _trust(report: RunReport, won: Round | None) -> list[str]:
    """Seeds, controls and warnings: what speaks for the result, and what against it."""
    said = []
    seeds = len(won.seeds) if won else max((len(r.seeds) for r in report.rounds), default=0)
    if seeds > 1:
        said.append(f"Trained with {seeds} seeds, so the interval covers the luck of training.")
    else:
        said.append(
            "Trained once: the interval covers the choice of images, not the luck of training."
        )
    said += _controls(report) if won else []
    if kinds := sorted({w.kind.replace("-", " ") for _, w in report.warnings}):
        said.append(f"Warnings about captions: {and_list(kinds)}; see below.")
    return said


def _controls(report: RunReport) -> list[str]:
    if not report.controls:
        return ["No control was trained: more training alone might explain the gain."]
    compared = [(c.name, above) for c in report.controls if (above := c.best_above)]
    if not compared:
        return ["No control has been compared yet."]
    rivals = [_quoted(name) for name, above in compared if above.low <= 0]
    if rivals:
        return [f"Not separated from the control {and_list(rivals)}, which may explain the gain."]
    rounds = and_list(sorted({_quoted(above.round) for _, above in compared}))
    controls = "one control, which" if len(compared) == 1 else f"{len(compared)} controls, which"
    verb = "does" if len(compared) == 1 else "do"
    return [f"{rounds} scored measurably above {controls} {verb} not explain the gain."]


def _quoted(name: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}"


def _cost(report: RunReport) -> str:
    costs, parts = report.costs, []
    if costs is not None:
        used = (
            (costs.gpu_hours, "GPU-hours"),
            (costs.process_hours, "CPU-process-hours"),
            (costs.captioning_hours, "captioner-hours"),
        )
        parts += [f"{hours:.2f} {name}" for hours, name in used if hours >= 0.005]
        if costs.money is not None:
            parts.append(f"{costs.money:,.2f} at the price of {costs.estimate}")
    return ", ".join([*parts, f"{duration(report.run.seconds)} of wall time"])


def _use(report: RunReport, won: Round) -> list[Command]:
    if not won.model:
        return []
    dataset = report.run.dataset.partition("@")[0]
    return [
        Command(f"vila2 caption {dataset} --model {won.model}", "captions a dataset"),
        Command(f"vila2 endpoints deploy {won.model}", "serves it as the endpoint captioner"),
        Command(f"vila2 models download {won.model} FOLDER", "copies its files"),
    ]


def _branch(report: RunReport, base: Round) -> Command:
    name = f'"{base.name}"' if " " in base.name else base.name
    return Command(
        f"vila2 runs branch {report.run.id} --round {name} --recipe FILE",
        "tries another recipe from here",
    )
