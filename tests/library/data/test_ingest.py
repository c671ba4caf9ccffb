"""Admission: what becomes of each raw sample."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets.samples import image
from vila2.data.admission import (
    EXAMPLES_PER_REASON,
    MAX_CAPTION_CHARACTERS,
    MAX_TURN_CHARACTERS,
    Admission,
    admit,
)
from vila2.data.images.decoding import ImageLimits
from vila2.data.sample import RawSample, Rejected, Sample, Turn
from vila2.data.text import clean_text, needs_repair

IMAGE = image()
ITEM = {
    "id": "1",
    "benchmark": "vqa",
    "kind": "color",
    "question": "What color?",
    "answers": ["red"],
    "metric": "exact",
}


def raw(key: str = "a", **fields) -> RawSample:
    given = {"source": f"{key}.png", "image": IMAGE, "caption": "a photo", **fields}
    return RawSample(key, **given)


def rejected(made: RawSample) -> Rejected:
    outcome = admit(made)
    assert isinstance(outcome, Rejected)
    return outcome


def test_a_good_sample_is_admitted_with_what_its_bytes_say():
    """Digest, size and extension come from the image, not from the name."""
    made = admit(raw("a", source="a.webp"))
    assert isinstance(made, Sample)
    assert made.sha256 == hashlib.sha256(IMAGE).hexdigest()
    assert (made.extension, made.width, made.height) == ("png", 16, 12)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"image": None}, "image-missing"),
        ({"image": b""}, "image-empty"),
        ({"image": b"text"}, "image-format-not-allowed"),
        ({"image": IMAGE[:-60]}, "image-truncated"),
        ({"caption": ""}, "caption-empty"),
        ({"caption": None}, "caption-empty"),
        ({"caption": " \n\t\x00 "}, "caption-empty"),
        ({"caption": "x" * (MAX_CAPTION_CHARACTERS + 1)}, "caption-too-long"),
        ({"turns": (Turn("who?", " "),)}, "turn-empty"),
        ({"turns": (Turn("", "me"),)}, "turn-empty"),
        ({"turns": (Turn("who?", "x" * (MAX_TURN_CHARACTERS + 1)),)}, "turn-too-long"),
        ({"items": ({**ITEM, "answers": []},)}, "item-malformed"),
        ({"items": ({**ITEM, "answers": "red"},)}, "item-malformed"),
        ({"items": ({**ITEM, "question": ""},)}, "item-malformed"),
        ({"items": ({**ITEM, "id": 7},)}, "item-malformed"),
        ({"items": ({**ITEM, "extra": {"deep": []}},)}, "item-malformed"),
        ({"items": ({},)}, "item-malformed"),
        ({"items": ({**ITEM, "level": float("nan")},)}, "item-malformed"),
        ({"items": ({**ITEM, "level": 10**400},)}, "item-malformed"),
        ({"items": ({**ITEM, " answers": "red"},)}, "item-malformed"),
        ({"problem": "row-malformed: no image"}, "row-malformed"),
        ({"problem": "Anything at all"}, "sample-unreadable"),
    ],
)
def test_a_bad_sample_is_rejected_with_its_reason(fields, reason):
    """The detail names the source, so that the person who sent it can find the row."""
    outcome = rejected(raw(**fields))
    assert outcome.reason == reason
    assert outcome.detail.startswith("a.png: ")


@pytest.mark.parametrize("fields", [{"turns": (Turn("who?", "me"),)}, {"items": (ITEM,)}])
def test_turns_or_items_stand_in_for_a_caption(fields):
    """Supervised data and benchmarks have no alt-text."""
    made = admit(raw(caption=None, **fields))
    assert isinstance(made, Sample)
    assert made.caption == ""


def test_a_conversation_keeps_its_lines_and_a_caption_is_one_line():
    """Lists and paragraphs mean something in an answer; in alt-text they do not."""
    made = admit(raw(caption=" a \r\n photo", turns=(Turn("list", "one\r\n two \n\n\n\nthree"),)))
    assert isinstance(made, Sample)
    assert made.caption == "a photo"
    assert made.turns[0].answer == "one\ntwo\n\nthree"


@given(st.text(st.characters()), st.booleans())
def test_cleaned_text_is_valid_and_stays_as_it_is(text, lines):
    """It can be encoded, holds no control characters, and cleaning again changes nothing."""
    cleaned = clean_text(text, lines=lines)
    cleaned.encode()
    assert not needs_repair(cleaned)
    assert clean_text(cleaned, lines=lines) == cleaned


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        RawSample,
        key=st.text(st.characters()),
        source=st.text(st.characters()),
        image=st.sampled_from([None, b"", IMAGE]),
        caption=st.none() | st.text(st.characters()),
        items=st.lists(
            st.dictionaries(
                st.sampled_from(["question", "answers", "more", "\ud800"]),
                st.text(st.characters()) | st.lists(st.text(st.characters())) | st.floats(),
            ).map(lambda changes: {**ITEM, **changes})
        ).map(tuple),
        problem=st.none() | st.text(st.characters()),
    )
)
def test_whatever_is_sent_comes_out_fit_to_store(made):
    """Every field of a sample or a rejection is valid Unicode, and keys are plain."""
    outcome = admit(made)
    fields = asdict(outcome)
    fields.pop("image", None)
    json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    if isinstance(outcome, Sample):
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,95}", outcome.key)
    else:
        assert re.fullmatch(r"[a-z][a-z0-9-]+", outcome.reason)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (raw("b"), "duplicate-caption"),
        (raw("b", caption="another"), "duplicate-image"),
        (raw("a", image=image(1)), "duplicate-key"),
        (raw("b", image=image(1), items=(ITEM,)), "duplicate-item"),
    ],
)
def test_what_a_version_may_hold_only_once_is_rejected_the_second_time(second, reason):
    """The first always stays."""
    admission = Admission()
    kept = list(admission.through([raw("a", items=(ITEM,) * (reason == "duplicate-item")), second]))
    assert [made.key for made in kept] == ["a"]
    assert admission.rejected == {reason: 1}


def test_a_rejected_sample_does_not_take_a_key():
    """A later good sample of that key is admitted."""
    admission = Admission()
    assert len(list(admission.through([raw("a", caption=""), raw("a")]))) == 1


@given(st.lists(st.sampled_from(["", "x", "y"]), max_size=8), st.integers(0, 3))
def test_every_raw_sample_is_counted_once(captions, missing):
    """Accepted and rejected add up to what came in."""
    sent = [raw(f"k{n}", image=image(n), caption=text) for n, text in enumerate(captions)]
    sent += [raw(f"m{n}", image=None) for n in range(missing)]
    admission = Admission()
    admitted = list(admission.through(sent))
    summary = admission.summary()
    assert summary.accepted == len(admitted)
    assert summary.accepted + sum(summary.rejected.values()) == len(sent)
    texts = [made.caption for made in admitted]
    assert summary.repeated_captions == sum(texts.count(text) > 1 for text in texts)


def test_a_wrong_extension_is_admitted_and_noted():
    """The content decides; a .jpg that is a PNG is used as a PNG."""
    admission = Admission()
    (made,) = admission.through([raw(source="a.JPG")])
    assert made.extension == "png"
    assert admission.summary().notes == {"extension-differs": 1}


def test_a_source_that_is_no_file_name_is_not_noted():
    """Only an extension that says another format than the bytes is worth a remark."""
    admission = Admission()
    list(admission.through([raw(source="table row 7")]))
    assert admission.notes == {}


def test_a_file_name_that_could_not_be_decoded_can_be_stored():
    """Its odd bytes show as U+FFFD, and its key ends in a hash."""
    made = admit(raw("caf\udce9", source="caf\udce9.png"))
    assert isinstance(made, Sample)
    assert made.source == "caf\ufffd.png"
    assert made.key.startswith("caf-")


def test_one_letter_written_in_two_ways_becomes_one():
    """An accent may come as a character of its own (NFC)."""
    assert clean_text("cafe\u0301") == "caf\u00e9"


def test_undecodable_text_is_refused_with_its_byte():
    """A Latin-1 byte in a UTF-8 file is not guessed at, and stops nothing else."""
    admission = Admission()
    given = [raw(caption=b"caf\xe9".decode("utf-8", "surrogateescape")), raw(key="b")]
    assert [made.key for made in admission.through(given)] == ["b"]
    assert admission.summary().rejected == {"text-not-decoded": 1}
    assert "0xe9" in admission.summary().examples["text-not-decoded"][0].detail


def test_half_a_pair_in_a_text_is_replaced_and_noted():
    """It stands so in its source, and no encoding would explain it."""
    admission = Admission()
    (made,) = admission.through([raw(caption="half \ud83d of it")])
    assert made.caption == "half \ufffd of it"
    assert admission.summary().notes == {"text-repaired": 1}


def test_some_examples_of_each_reason_are_kept():
    """Enough to see what is wrong, however many there are."""
    admission = Admission()
    list(admission.through(raw(f"k{n}", image=None) for n in range(EXAMPLES_PER_REASON + 5)))
    summary = admission.summary()
    assert summary.rejected == {"image-missing": EXAMPLES_PER_REASON + 5}
    assert len(summary.examples["image-missing"]) == EXAMPLES_PER_REASON


def test_the_limits_of_an_admission_hold():
    """A deployment may set its own."""
    admission = Admission(limits=ImageLimits(min_side=13))
    list(admission.through([raw()]))
    assert admission.rejected == {"image-too-small": 1}


def test_progress_counts_what_is_rejected_too():
    """A version of nothing but bad rows is not seen as one that stands still."""
    told: list[int] = []
    admission = Admission(counted=told.append)
    bad = [raw(str(n), image=None) for n in range(3)]
    assert len(list(admission.through([raw("good"), *bad]))) == 1
    assert told == [1, 2, 3, 4]
