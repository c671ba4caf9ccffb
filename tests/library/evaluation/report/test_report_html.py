"""The HTML report, read back by a parser as a browser would."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from tests.support.example_report import HOSTILE, figures, png
from vila2.evaluation.report.html import duration, render_html
from vila2.evaluation.report.model import RunReport

_VOID = {"meta", "img", "br"}


class _Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, name: str) -> list[str]:
        return [
            value or "" for _, attrs in self.tags for key, value in attrs.items() if key == name
        ]


@pytest.fixture(scope="module")
def page() -> _Page:
    return _Page(render_html(RunReport.model_validate(figures())))


def test_the_page_shows_scores_verdicts_captions_and_refusals(page: _Page):
    """One thing of each section."""
    words = " ".join(page.text.split())
    for part in (
        "67.0–73.0", "no measurable change", "+9.0 (+6.9 to +11.1)", "a large blue square.",
        "repetition 61, too short 18", "not an image 3", "pretrain: 400 steps, 1 min 12 s",
        "F1 of the objects", "Four thousand images, one seed.", "How to read this page",
        "different word pairs fell from 31.0% to 19.0%", "cut to its first 12 words", "83.0%",
        "Answers in full", "0.36 process-hours", "weights 3f3f3f3f3f3f",
        "layer round 1 by tiny-baseline",
        "every image gets another's captions", "+1.6", "117.1", "57.3 (1)",
        "standard deviation 1.1 points", "48,000", "0.1 to 0.2",
    ):  # fmt: skip
        assert part in words


def test_the_page_names_every_round_and_every_warning(page: _Page):
    """And every control."""
    for round_ in figures()["rounds"]:
        assert round_["name"] in page.text
    assert "diversity collapse" in page.text


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(page: _Page):
    """Every address is data or within the page; there is no script and a policy forbids any."""
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "form"}
    addresses = page.values("src") + page.values("href") + page.values("xlink:href")
    assert addresses
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in addresses)
    assert "default-src 'none'" in page.values("content")[2]


def test_every_text_of_the_report_is_escaped():
    """Hostile text in every field a reader sees comes out as text, and changes no tag."""
    data = figures()
    data["run"] |= dict.fromkeys(("name", "dataset", "recipe", "state", "id"), HOSTILE)
    data["benchmarks"][0]["description"] = HOSTILE
    data["notes"] = [HOSTILE]
    data["rounds"][1] |= {"name": HOSTILE, "model": HOSTILE}
    data["rounds"][1]["verdict"]["evidence"] = HOSTILE
    data["rounds"][1]["layer"] = {"captioned": 1, "quarantined": {HOSTILE: 1}}
    data["dataset"]["rejected"] = {HOSTILE: 1}
    data["examples"][0] |= {"key": HOSTILE, "original": HOSTILE, "captions": {HOSTILE: HOSTILE}}
    page = _Page(render_html(RunReport.model_validate(data)))
    assert page.text.count("<script>alert(1)</script>") >= 15
    assert not any(tag == "script" or "onload" in attrs for tag, attrs in page.tags)
    assert "{{ 7 * 7 }}" in page.text


def test_plots_follow_the_page_and_have_a_description(page: _Page):
    """No colour is fixed in a drawing, so that light and dark both work."""
    plots = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("class") == "plot"]
    assert [plot["role"] for plot in plots] == ["img"] * 4
    assert all(plot["aria-label"] for plot in plots)
    drawn = "".join(page.values("style"))
    assert "var(--control)" in drawn
    assert not re.findall(r"#[0-9a-f]{6}", drawn)


def test_the_page_can_be_read_by_a_screen_reader(page: _Page):
    """Images have alternatives, headings are in order, ids are unique, tables have headers."""
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[:2] == [1, 2]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert max(Counter(page.values("id")).values()) == 1
    assert set(page.values("aria-labelledby")) <= set(page.values("id"))
    assert all(attrs.get("scope") in {"row", "col"} for tag, attrs in page.tags if tag == "th")


def test_only_small_images_are_enlarged_pixel_by_pixel():
    """A photograph is scaled smoothly."""
    data = figures()
    data["examples"][0]["image_png_base64"] = png(side=200)
    page = _Page(render_html(RunReport.model_validate(data)))
    classes = [attrs.get("class") for tag, attrs in page.tags if tag == "img"]
    assert classes == [None, "pixelated", "pixelated", "pixelated"]


def test_the_same_report_gives_the_same_page(report: RunReport):
    """Byte for byte: no date, no random ids."""
    assert render_html(report) == render_html(report)


def test_a_run_that_has_only_begun_can_be_shown():
    """Nothing measured yet, and no empty plots or tables of it."""
    data = {**figures(), "rounds": [], "specialists": [], "examples": [], "notes": []}
    page = _Page(render_html(RunReport.model_validate(data)))
    assert not any(attrs.get("class") == "plot" for _, attrs in page.tags)
    assert "No round has a verdict yet." in page.text
    assert "vila2 runs resume run-7f3a" in page.text


def test_what_was_not_measured_is_said_once_below_the_table():
    """A round without a score on a benchmark has no zero there, and no cell says so."""
    data = figures()
    note = "the round was not evaluated on that benchmark"
    assert note not in render_html(RunReport.model_validate(data))
    del data["rounds"][0]["scores"]["text"]
    data["rounds"][0]["macro"] = None
    page = _Page(render_html(RunReport.model_validate(data)))
    assert page.text.count(note) == 1
    assert "not measured" not in page.text


def test_the_first_screen_says_which_model_won_how_sure_that_is_and_what_to_type(page: _Page):
    """Before the contents, which come before everything else."""
    summary, _, rest = " ".join(page.text.split()).partition("Captions before and after")
    for part in (
        "Use the model of “with specialists”.", "+3.0 points of the macro score",
        "interval +0.9 to +5.1", "Trained once", "“round 1” scored measurably above 2 controls",
        "0.36 CPU-process-hours", "21 min 27 s of wall time", "vila2 caption shapes",
        "vila2 endpoints deploy", "vila2 models download",
    ):  # fmt: skip
        assert part in summary
    assert rest.startswith(" Recipe, data and licences Scores by round")


def test_the_contents_name_every_section_of_the_page(page: _Page):
    """In the page's order."""
    targets = [value[1:] for value in page.values("href") if value.startswith("#")]
    headings = [attrs.get("id") for tag, attrs in page.tags if tag == "h2"]
    assert [target for target in targets if target in headings] == headings[1:]


def test_a_caption_marks_what_it_changes_of_the_one_before(page: _Page):
    """The marks are elements, so that they can be read out."""
    marked = [tag for tag, _ in page.tags if tag in ("ins", "del")]
    assert {"ins", "del"} == set(marked)
    assert "Worst: where the captioner was least sure" in page.text


def test_recipe_data_and_licences_are_on_the_page(page: _Page):
    """One without a licence says so."""
    words = " ".join(page.text.split())
    for part in ("maximum: 2", "recaptioned, pretrain", "CC-BY-4.0", "none stated"):
        assert part in words


def test_a_verdict_is_stated_once_and_its_evidence_can_be_opened(page: _Page):
    """In the table of scores."""
    words = " ".join(page.text.split())
    for said in ("+9.0 (+6.9 to +11.1)", "The macro score changed by +9.0 points."):
        assert words.count(said) == 1


def test_the_light_parts_import_neither_matplotlib_nor_torch():
    """A controller judges rounds, and a client prints reports, without either."""
    modules = "outcomes statistics.bootstrap verdict metrics.scorers metrics.captions report.html"
    names = ", ".join(f"vila2.evaluation.{module}" for module in modules.split())
    code = f"import sys, {names}; sys.exit(bool({{'matplotlib', 'torch'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (42, "42 s"), (59.7, "1 min 0 s"), (200, "3 min 20 s"), (18120, "5 h 2 min")],
)
def test_durations_are_written_for_a_reader(seconds: float, text: str):
    """From tenths of a second to hours."""
    assert duration(seconds) == text
