"""The terminal's report."""

from __future__ import annotations

from tests.support.example_report import CAPTIONS, HOSTILE, figures
from vila2.evaluation.report.model import RunReport
from vila2.evaluation.report.text import text_of


def test_the_table_shows_scores_intervals_and_verdicts(report: RunReport):
    """The first round's captions score 70.0, with its range below."""
    text = text_of(report, width=160)
    assert "70.0" in text
    assert "67.0–73.0" in text
    assert "no measurable change" in text
    assert "+9.0 (+6.9 to +11.1)" in text


def test_captions_before_and_after_are_shown_and_the_rest_counted(report: RunReport):
    """A reader sees the original beside every round's caption."""
    text = text_of(report, examples=2)
    assert text.count("circle stock photo") == 2
    assert text.count(CAPTIONS["round 2"]) == 2
    assert "1 more in the HTML report" in text


def test_a_caption_cannot_command_the_terminal():
    """Escapes and direction marks are replaced, and markup is only text."""
    data = figures()
    data["examples"][0]["captions"] = {HOSTILE: HOSTILE}
    data["examples"][0]["original"] = HOSTILE
    text = text_of(RunReport.model_validate(data), width=300)
    assert not {"\x1b", "\u202e"} & set(text)
    assert text.count("[bold]$x$") == 3


def test_a_run_that_has_only_begun_can_be_shown():
    """No rounds, no benchmarks, no images yet."""
    report = RunReport.model_validate(
        {**figures(), "rounds": [], "specialists": [], "examples": [], "benchmarks": []}
    )
    assert "No round of this run has a verdict yet." in text_of(report)


def test_a_narrow_terminal_shows_every_verdict_whole(report: RunReport):
    """The intervals give way, which the findings have too; no word is cut."""
    text = text_of(report, width=80)
    assert all(len(line) <= 80 for line in text.splitlines())
    row = next(line for line in text.splitlines() if line.startswith(" round 1"))
    assert row.rstrip().endswith("improved")
