"""Conversations and benchmarks: JSON rows that name images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.datasets.samples import image
from vila2.data.admission import Admission
from vila2.data.errors import DataError
from vila2.data.readers import open_reader
from vila2.data.sample import RawSample, Turn


def row(image: object, *texts: str) -> dict:
    says = [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(texts)]
    return {"id": "1", "image": image, "conversations": says}


def item(image: object, number: object, **changes: object) -> dict:
    return {
        "id": str(number),
        "image": image,
        "benchmark": "vqa",
        "kind": "color",
        "question": f"Question {number}?",
        "answers": ["red"],
        "metric": "exact",
        **changes,
    }


def images(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (root / name).write_bytes(image(seed))


def conversations(root: Path, *rows: object) -> None:
    (root / "conversations.json").write_text(json.dumps(rows))


def items(root: Path, *rows: object) -> None:
    (root / "items.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def read_benchmark(root: Path) -> list[RawSample]:
    return list(open_reader("benchmark", root).read())


def slugs(root: Path, format: str) -> list[str]:
    found = [r.problem for r in open_reader(format, root).read()]
    return [problem.partition(":")[0] for problem in found if problem is not None]


def test_rows_of_one_image_become_one_sample_with_all_turns(tmp_path):
    """In order; the image marker is taken out, and spelling of a path does not matter."""
    images(tmp_path, "a.png", "b.png")
    conversations(
        tmp_path,
        row("a.png", "<image>\nWho?", "Me.", "Where?", "Here."),
        row("b.png", "What?\n<image>", "That."),
        row("./a.png", "When?", "Now."),
    )
    first, second = open_reader("llava", tmp_path).read()
    assert first.turns == (Turn("Who?", "Me."), Turn("Where?", "Here."), Turn("When?", "Now."))
    assert second.turns == (Turn("What?", "That."),)


def test_conversations_may_be_lines_in_a_file_of_any_name(tmp_path):
    """One line that is not JSON is reported; the others are read."""
    images(tmp_path, "a.png")
    path = tmp_path / "train.jsonl"
    good = json.dumps(row("a.png", "Who?", "Me\u2028you."), ensure_ascii=False)
    path.write_text(good + "\n{oops\n\n" + "[" * 99999)
    found = list(open_reader("llava", path).read())
    assert [r.problem is None for r in found] == [False, False, True]
    assert found[0].source == "train.jsonl row 2"


@pytest.mark.parametrize(
    ("bad", "slug"),
    [
        ({"id": "1", "conversations": []}, "row-without-image"),
        (row(None, "Who?", "Me."), "row-malformed"),
        (row(["a.png", "b.png"], "Who?", "Me."), "row-malformed"),
        (row("a.png"), "row-malformed"),
        (row("a.png", "Who?"), "row-malformed"),
        (row("a.png", "Who?", ""), "row-malformed"),
        ({"image": "a.png", "conversations": ["Who?", "Me."]}, "row-malformed"),
        (
            {"image": "a.png", "conversations": [{"from": "gpt"}, {"from": "human"}]},
            "row-malformed",
        ),
        ("a.png", "row-malformed"),
        (row("gone.png", "Who?", "Me."), "image-missing"),
        (row("../a.png", "Who?", "Me."), "path-outside"),
    ],
)
def test_a_bad_conversation_is_reported_and_the_next_is_read(tmp_path, bad, slug):
    """Each kind of damage has its slug."""
    images(tmp_path, "a.png", "b.png")
    conversations(tmp_path, bad, row("b.png", "Who?", "Me."))
    assert slugs(tmp_path, "llava") == [slug]
    assert sum(r.problem is None for r in open_reader("llava", tmp_path).read()) == 1


@pytest.mark.parametrize("text", ["{}", "[]", "[", "[" * 100_000])
def test_a_file_that_is_no_list_of_conversations_is_an_error(tmp_path, text):
    """The error names the file."""
    (tmp_path / "conversations.json").write_text(text)
    with pytest.raises(DataError, match=r"conversations\.json"):
        open_reader("llava", tmp_path)


def test_questions_about_one_image_become_one_sample(tmp_path):
    """Fields of the team's own stay; the image's name does not repeat."""
    images(tmp_path, "a.png", "b.png")
    items(tmp_path, item("a.png", 1), item("b.png", 2), item("a.png", 3, level=5))
    first, second = Admission().through(read_benchmark(tmp_path))
    assert [i["id"] for i in first.items] == ["1", "3"]
    assert first.items[1]["level"] == 5
    assert second.items[0]["question"] == "Question 2?"


@pytest.mark.parametrize(
    ("bad", "slug"),
    [
        (item("a.png", 1, answers=[]), "row-malformed"),
        (item("a.png", 1, answers="red"), "row-malformed"),
        (item("a.png", 1, answers=[1]), "row-malformed"),
        (item("a.png", 1, id=1), "row-malformed"),
        (item("a.png", 1, id=["x"]), "row-malformed"),
        (item({}, 1), "row-malformed"),
        (item("a.png", 1, metric=""), "row-malformed"),
        (item("a.png", 9), "row-malformed"),
        ([], "row-malformed"),
        (item("../a.png", 1), "path-outside"),
        (item("gone.png", 1), "image-missing"),
    ],
)
def test_a_bad_question_is_reported_and_the_others_are_read(tmp_path, bad, slug):
    """`9` is an id that occurs twice."""
    images(tmp_path, "a.png", "b.png")
    items(tmp_path, item("b.png", 9), bad)
    assert slugs(tmp_path, "benchmark") == [slug]
    assert len(list(Admission().through(read_benchmark(tmp_path)))) == 1


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=st.lists(st.sampled_from(["a.png", "b.png", "gone.png"]), min_size=1, max_size=12))
def test_grouping_loses_and_doubles_nothing(tmp_path, asked):
    """Every question is under its image, in order, whatever the order of the lines."""
    images(tmp_path, "a.png", "b.png")
    items(tmp_path, *(item(name, n) for n, name in enumerate(asked)))
    found = {r.source: [i["id"] for i in r.items] for r in read_benchmark(tmp_path)}
    assert found == {
        name: [str(n) for n, other in enumerate(asked) if other == name] for name in set(asked)
    }


@pytest.mark.parametrize(
    "format", ["folder", "webdataset", "img2dataset", "llava", "parquet", "benchmark"]
)
def test_an_empty_or_missing_folder_is_a_clear_error(tmp_path, format):
    """It says what the format needs and where it looked."""
    with pytest.raises(DataError, match=r"has no|holds no") as caught:
        open_reader(format, tmp_path)
    assert caught.value.fix
    with pytest.raises(DataError, match="does not exist"):
        open_reader(format, tmp_path / "gone")


def test_an_unknown_format_is_answered_with_those_there_are(tmp_path):
    """And with what each looks like."""
    with pytest.raises(DataError, match=r"folder: .*webdataset: .*llava: .*items\.jsonl"):
        open_reader("zip", tmp_path)
