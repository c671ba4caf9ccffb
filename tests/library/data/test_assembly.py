"""Assembly: which text a sample trains with, on each visit."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.datasets.samples import sample
from vila2.data.assembly import AssemblyCounts, MissingCaptionError, TrainingText, assemble
from vila2.data.sample import Turn
from vila2.schemas.assembly import Assembly

IMAGE = b"not looked at"
ALT, CAPTION = "fox in snow", "A red fox stands in deep snow."
CAPTIONS = {"round1": CAPTION, "ocr": "The sign says STOP.", "spatial": "The fox is left."}
QUESTIONS = {"ocr": ["What text is there?"], "spatial": ["Where is the fox?"]}
TURNS = tuple(Turn(f"Question {n}?", f"Answer {n}.") for n in range(6))


def policy(name: str, **fields) -> Assembly:
    return Assembly.model_validate({"policy": name, "caption_layer": "round1", **fields})


def made(assembly: Assembly, *, key="a", seed=0, visit=0, captions=CAPTIONS, counts=None, **fields):
    of = sample(key, image=IMAGE, **{"caption": ALT, **fields})
    return assemble(of, captions, assembly, seed=seed, visit=visit, counts=counts)


@pytest.mark.parametrize(
    ("assembly", "plain", "turns"),
    [
        (policy("original"), ALT, ()),
        (policy("recaption"), CAPTION, ()),
        (policy("concat"), f"{ALT}. {CAPTION}", ()),
        (policy("concat", caption_first=True), f"{CAPTION} {ALT}", ()),
        (policy("mix", p=1.0), CAPTION, ()),
        (policy("mix", p=0.0), ALT, ()),
        (policy("recaption", caption_question="What?"), "", (Turn("What?", CAPTION),)),
        (policy("concat", caption_question="What?"), ALT, (Turn("What?", CAPTION),)),
        (
            policy("qa_turns", questions={"ocr": QUESTIONS["ocr"]}),
            f"{ALT}. {CAPTION}",
            (Turn("What text is there?", "The sign says STOP."),),
        ),
        (
            policy("qa_turns", caption_layer="", questions={"ocr": QUESTIONS["ocr"]}),
            ALT,
            (Turn("What text is there?", "The sign says STOP."),),
        ),
        (policy("conversations"), "", ()),
    ],
)
def test_each_policy_gives_the_text_it_is_named_for(assembly, plain, turns):
    """Golden texts: a change here is a change of what models train on."""
    assert made(assembly) == TrainingText(plain, turns)


def test_several_layers_of_captions_are_drawn_from_visit_by_visit():
    """Captions of all rounds teach, each in its share of the visits; one alone is no choice."""
    both = policy("recaption", also_layers=["round2"])
    captions = {"round1": "first", "round2": "second"}
    seen = Counter(made(both, visit=visit, captions=captions).plain for visit in range(400))
    assert set(seen) == {"first", "second"}
    assert abs(seen["first"] - 200) < 50
    assert made(both, captions={"round1": None, "round2": "second"}).plain == "second"


def test_a_sample_that_no_layer_has_is_missing_once():
    counts = AssemblyCounts()
    both = policy("concat", also_layers=["round2"], missing="original")
    assert made(both, captions={"round1": None}, counts=counts).plain == ALT
    assert counts.missing == Counter({"round1": 1})


@pytest.mark.parametrize("name", ["concat", "qa_turns"])
def test_a_share_of_the_visits_sees_the_alt_text_alone(name):
    """The mix ratio holds for the concatenating policies as well."""
    texts = [made(policy(name, p=0.75), visit=visit).plain for visit in range(400)]
    assert abs(texts.count(f"{ALT}. {CAPTION}") - 300) < 40
    assert set(texts) == {ALT, f"{ALT}. {CAPTION}"}


@pytest.mark.parametrize("end", [".", "!", "?"])
def test_a_sentence_that_has_its_mark_gets_no_other(end):
    """The end of one text must not run into the beginning of the next."""
    assert made(policy("concat"), caption=f"A fox{end} ").plain == f"A fox{end} {CAPTION}"


def test_an_empty_alt_text_leaves_no_stray_full_stop():
    """Half of web images have none."""
    assert made(policy("concat"), caption="").plain == CAPTION


assemblies = st.one_of(
    st.builds(
        policy,
        st.sampled_from(["original", "recaption", "concat", "mix", "conversations"]),
        p=st.floats(0, 1),
        caption_question=st.sampled_from(["", "What?"]),
        caption_first=st.booleans(),
        turns_per_sample=st.integers(0, 3),
    ),
    st.builds(
        policy,
        st.just("qa_turns"),
        questions=st.just({**QUESTIONS, "ocr": ["a?", "b?", "c?"]}),
        turns_per_sample=st.integers(0, 3),
    ),
)


@settings(max_examples=80, deadline=None)
@given(assembly=assemblies, seed=st.integers(0, 9), visit=st.integers(0, 9))
def test_the_same_arguments_give_the_same_text_whatever_came_before(assembly, seed, visit):
    """Resuming a job, or running it on other machines, changes no text."""
    first = made(assembly, seed=seed, visit=visit, turns=TURNS)
    made(assembly, key="another", seed=seed + 1, visit=visit, turns=TURNS)
    reordered = dict(reversed(CAPTIONS.items()))
    again = made(assembly, seed=seed, visit=visit, turns=TURNS, captions=reordered)
    assert again == first


def test_the_choice_does_not_hang_on_python_s_hash_seed():
    """A golden choice: it would differ from process to process if `hash` were used."""
    assembly = policy("qa_turns", questions={"ocr": [f"{n}?" for n in range(100)]})
    asked = [made(assembly, key=key).turns[0].question for key in ("a", "b", "c")]
    assert asked == ["35?", "66?", "92?"]


@settings(max_examples=40, deadline=None)
@given(visit=st.integers(0, 1000))
def test_turns_are_shuffled_and_complete(visit):
    """None is lost or doubled by the shuffle."""
    found = made(policy("conversations"), turns=TURNS, visit=visit).turns
    assert Counter(found) == Counter(TURNS)


def test_the_order_of_turns_differs_by_visit_sample_and_seed():
    """So that no answer is always read after the same one."""
    conversations = policy("conversations")
    for axis in ({"visit": 1}, {"key": "b"}, {"seed": 1}):
        assert made(conversations, turns=TURNS, **axis) != made(conversations, turns=TURNS)


def test_at_most_the_asked_number_of_turns_is_kept_and_all_have_their_turn():
    """Over many visits every turn is seen."""
    limited = policy("conversations", turns_per_sample=2)
    visits = [made(limited, turns=TURNS, visit=visit).turns for visit in range(60)]
    assert {len(turns) for turns in visits} == {2}
    assert {turn for turns in visits for turn in turns} == set(TURNS)


def test_every_paraphrase_is_asked():
    """And only those of its own layer."""
    asked = {"a?", "b?", "c?"}
    assembly = policy("qa_turns", questions={"ocr": sorted(asked)})
    assert {made(assembly, visit=v).turns[0].question for v in range(60)} == asked


@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_mix_uses_the_caption_as_often_as_p_says(p):
    """Within four standard deviations over 2000 samples."""
    texts = Counter(made(policy("mix", p=p), key=f"k{n}").plain for n in range(2000))
    assert set(texts) == {ALT, CAPTION}
    assert abs(texts[CAPTION] - 2000 * p) < 4 * (2000 * p * (1 - p)) ** 0.5


@pytest.mark.parametrize("name", ["recaption", "concat", "mix", "qa_turns"])
@pytest.mark.parametrize("captions", [{}, {"round1": None}])
def test_a_missing_caption_is_an_error_that_names_sample_layer_and_fix(name, captions):
    """Nothing is guessed where the assembly declares no fallback."""
    with pytest.raises(MissingCaptionError, match=r"sample a: layer 'round1'.*missing: original"):
        made(policy(name), captions=captions)


@pytest.mark.parametrize("name", ["recaption", "concat", "mix", "qa_turns"])
def test_a_declared_fallback_gives_the_original_and_is_counted(name):
    """The report says how many samples did not train on captions."""
    counts = AssemblyCounts()
    assembly = policy(name, missing="original")
    assert made(assembly, captions={"round1": None}, counts=counts).plain == ALT
    made(assembly, counts=counts)
    assert (counts.samples, counts.missing) == (2, Counter({"round1": 1}))


def test_a_specialist_without_an_answer_leaves_out_its_turn_and_is_counted():
    """The other specialists' turns stay."""
    counts = AssemblyCounts()
    assembly = policy("qa_turns", missing="original", questions=QUESTIONS)
    found = made(assembly, captions={**CAPTIONS, "ocr": None}, counts=counts)
    assert found.turns == (Turn("Where is the fox?", "The fox is left."),)
    assert counts.missing == Counter({"ocr": 1})


@pytest.mark.parametrize("name", ["original", "conversations"])
def test_a_policy_that_reads_no_layer_misses_none(name):
    """Even where a layer is named, as in a recipe's shared settings."""
    counts = AssemblyCounts()
    made(policy(name), captions={}, counts=counts)
    assert not counts.missing


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"policy": "recaption"}, "caption_layer"),
        ({"policy": "concat"}, "caption_layer"),
        ({"policy": "mix", "p": 0.5}, "caption_layer"),
        ({"policy": "mix", "p": 1.5, "caption_layer": "a"}, "p"),
        ({"policy": "qa_turns", "questions": {"ocr": []}}, r"questions\.ocr is empty"),
        ({"policy": "summarise"}, "policy"),
        ({"policy": "original", "missng": "original"}, "missng"),
        ({"policy": "original", "turns_per_sample": -1}, "turns_per_sample"),
    ],
)
def test_an_assembly_that_cannot_work_is_refused_by_the_field(fields, message):
    """Before any sample is read."""
    with pytest.raises(ValidationError, match=message):
        Assembly.model_validate(fields)


def test_the_layers_to_fetch_are_those_that_are_read():
    """The caption's first, then the specialists' by name."""
    assembly = policy("qa_turns", questions={"spatial": ["a?"], "ocr": ["b?"]})
    assert assembly.layers() == ["round1", "ocr", "spatial"]
