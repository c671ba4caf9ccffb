"""What is printed: text of anyone as text, tables that fit or are whole, JSON that stays JSON."""

from __future__ import annotations

import io
import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from vila2.cli.runs.tables import rounds_of
from vila2.schemas.rest.base import Progress
from vila2.schemas.rest.controller import Round, Run
from vila2.system import terminal

HOSTILE = "x[/z] [bold]\x1b[31mred\x1b]0;title\x07 \x9b2J \u202etxt.exe \u200bzero :smile:"


BIDI = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


class Screen(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self) -> bool:
        return True


def on_a_screen(show: Callable[[], None]) -> str:
    """What is printed on it."""
    wanted = {"COLUMNS": "80", "TERM": "dumb"}
    with Screen() as made, pytest.MonkeyPatch.context() as patch, redirect_stdout(made):
        for name, value in wanted.items():
            patch.setenv(name, value)
        show()
        return made.getvalue()


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    left = terminal.plain(text)
    assert not any(unicodedata.category(char) == "Cc" and char not in "\n\t" for char in left)
    assert not any(unicodedata.bidirectional(char) in BIDI for char in left)
    assert len(left) == len(text.replace("\r\n", "\n"))


def test_letters_of_every_script_and_joined_emoji_stay() -> None:
    for text in ("می\u200cخواهم", "👩\u200d🚀", "Fußgänger", "日本語"):
        assert terminal.plain(text) == text


def test_cells_headings_and_titles_are_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    made = terminal.table(HOSTILE, "b", rows=[("a", HOSTILE)], title=HOSTILE)
    terminal.show(made)
    shown = capsys.readouterr().out
    assert shown.count("x[/z] [bold]") == 3
    assert shown.count(":smile:") == 3
    assert not set(shown) & set("\x1b\x07\x9b\u202e\u200b")


def test_a_sentence_and_whatever_else_is_printed_is_plain_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also text that went round the helpers."""
    terminal.say(HOSTILE, Text(HOSTILE), terminal.bold(HOSTILE))
    terminal.console().print(HOSTILE, Text(HOSTILE))
    shown = capsys.readouterr().out
    assert shown.count("x[/z] [bold]") == 5
    assert not set(shown) & set("\x1b\x07\x9b\u202e\u200b")


def test_json_has_no_control_characters_and_says_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal.show_json({"text": HOSTILE, "more": ["é", "\U000e0041"]})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"text": HOSTILE, "more": ["é", "\U000e0041"]}
    assert "é" in shown
    assert not set(shown) & set("\x1b\x07\x9b\u202e\u200b\U000e0041")


def test_a_file_is_plain_text_on_a_terminal() -> None:
    shown = on_a_screen(lambda: terminal.show_file(HOSTILE))
    assert shown == terminal.plain(HOSTILE)


def test_a_file_is_exact_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_file(HOSTILE)
    assert capsys.readouterr().out == HOSTILE


ROWS = [
    ("run-0123456789ab", "the second try", "vila2-8b 0123abcd", "running", "53%", "1:02:03",
     "2026-11-30 22:56", "captioning photos@12 by round-1-0123456789ab: 12,000 of 24,000 images"),
] * 2  # fmt: skip
COLUMNS = ("run", "name", "recipe", "state", "done", "left", "created (UTC)", "now")


def test_a_table_too_wide_for_80_columns_is_shown_as_records_and_no_word_is_cut() -> None:
    """What a user copies stands on one line, in whatever column it is."""
    lines = on_a_screen(lambda: terminal.show(terminal.table(*COLUMNS, rows=ROWS))).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines.count("run-0123456789ab") == len(ROWS)
    for words in ROWS[0][1:-1]:
        assert sum(words in line for line in lines) == len(ROWS)
    assert sum("round-1-0123456789ab" in line for line in lines) == len(ROWS)
    shown = Counter("".join(lines))
    for char, count in Counter("".join([*COLUMNS[1:], *ROWS[0], *ROWS[1]])).items():
        assert char == " " or shown[char] >= count


def test_a_table_in_a_pipe_has_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    """However long, so that a program can search it."""
    long = " ".join(["word"] * 200)
    terminal.show(terminal.table("key", "caption", rows=[("p0", long), ("p1", "short")]))
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 4
    assert long in shown[2]


def test_columns_without_content_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show(terminal.table("key", "user", "state", rows=[("a", "", "active")]))
    assert "user" not in capsys.readouterr().out


def test_a_list_of_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show(terminal.table("key", "user", rows=[]))
    assert "(none)" in capsys.readouterr().out


def test_a_bar_does_not_share_its_line_with_the_table_below_it() -> None:
    progress = Progress(done=1, total=2, phase="captioning")
    run = Run(
        id="run-1", name="first", team="t", recipe_name="tiny", recipe_hash="0" * 16,
        state="running", phase="", rounds=[
            Round(name="round 1", kind="self", index=1, state="captioning", progress=progress)
        ], created_at=0.0, progress=progress,
    )  # fmt: skip
    out = Console(file=io.StringIO(), width=80, record=True)
    out.print(rounds_of(run))
    _, bar, headings, *_ = out.export_text().splitlines()
    assert set(bar.strip()) <= set("━╸╺")
    assert headings.startswith("round")


@pytest.mark.parametrize(("count", "shown"), [
    (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (99_960_000, "100 MB"),
    (999_999, "1 MB"), (193_331_200, "193 MB"),
])  # fmt: skip
def test_sizes_have_three_digits_at_most(count: int, shown: str) -> None:
    assert terminal.size(count) == shown
