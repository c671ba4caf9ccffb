"""The caption gate: nasty captions from the field are caught, people's captions pass."""

from __future__ import annotations

import csv
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.caption.gate.gate import CHECKS, Candidate, GateLimits, check
from vila2.scenes import language as tiny
from vila2.schemas.sampling import Gate

RECIPE = Gate()
LIMITS = GateLimits.of(RECIPE)
PROMPT = "Describe the image in detail."
LONG_PROMPT = (
    "Instead of describing the imaginary content, only describing the content one can determine "
    "confidently from the image. Do not describe the contents by itemizing them in list form. "
    "Minimize aesthetic descriptions as much as possible."
)


def reason(
    caption: str, *, prompt: str = PROMPT, finish: str = "stop", language: str = "en"
) -> str:
    limits = GateLimits.of(Gate(language=language))
    return check(caption, prompt=prompt, finish_reason=finish, limits=limits) or "passes"


GOOD = {
    "short": "A dog.",
    "one word": "dog",
    "no full stop": "Two men play football on a field",
    "printed number": "the number 7.",
    "only a number": "7",
    "boxes": "red circle [031,062,219,250]; blue square [300,010,420,130].",
    "only a box": "[031,062,219,250]",
    "player number": "# 7 in red passes the ball",
    "says very often": "A very, very, very, very happy dog.",
    "laughing": 'A sign that says "ha ha ha ha".',
    "quoted refusal": 'A note on the door reads "Sorry, I can\'t help you, please come back."',
    "quoted role label": 'A chat window with the line "ASSISTANT: how are you?"',
    "quoted Japanese": 'A station with a large sign that says "東京駅へようこそ".',
    "quoted lack of text": 'A page with the words "This page does not contain any text".',
    "wholly quoted": '"A man in a red shirt climbs a rock."',
    "accents": "A waiter at a café serves a piñata-shaped crème brûlée.",
    "foreign names": "A bus in front of the Café de la Paix in Los Angeles.",
    "capitals in Spanish": "A shop sign reads EL MUNDO DE LOS NIÑOS UNA CASA.",
    "emoji": "A child's drawing with a 👍🏽 and a ❤️.",
    "no people": "An empty street. There are no people, but a bicycle leans on a wall.",
    "no text at the end": "A brown dog runs on sand. Waves break behind it. There is no text.",
    "here is": "Here comes a train around the bend.",
    "great opener": "Great white sharks swim behind glass.",
    "great opener with comma later": "Okay signs are made by two divers.",
    "words of the prompt": "The image in detail is a vase; a plate is in the center of the image.",
    "hyphen inside": "A well-lit room - with a red sofa - and a cat.",
    "long run of zeros": "A cheque of 1000000000 dollars.",
    "dotted line": "A form with a line to sign ........ here.",
    "ends in a year": "A poster from 1999. It shows a guitar.",
    "heart": "A mug that says I <3 NY",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_caption_passes(name: str) -> None:
    """Captions that look like a fault at a glance."""
    assert reason(GOOD[name]) == "passes"


HAT = "a man with a hat on top of a hat on top of a hat on top of a hat on top of a hat"
BAD = {
    "nothing": ("", "empty"),
    "blanks": (" \n\t", "empty"),
    "punctuation": ("...!", "empty"),
    "replacement character": ("A dog on a caf\ufffd table.", "bad-characters"),
    "control character": ("A dog\x00 on a table.", "bad-characters"),
    "half a surrogate pair": ("A dog \ud83d.", "bad-characters"),
    "UTF-8 read as Latin-1": ("A dog at a cafÃ©.", "bad-characters"),
    "phrase loop (BLIP-2)": (HAT, "repetition"),
    "word loop": ("A dog " + "the " * 20, "repetition"),
    "sentence loop": ("A dog sits on the grass. " * 3, "repetition"),
    "sentence loop with gaps": (
        " ".join(f"There is a tree in view {i}." for i in "abcde"),
        "repetition",
    ),
    "character loop": ("A dog " + "o" * 40, "repetition"),
    "loop without blanks": ("A dog lalalalalalalalalala", "repetition"),
    "loop in another script": ("狗在草地上" * 6, "repetition"),
    "box loop": ("cat [000,000,100,100]; " * 3, "repetition"),
    "prompt again": ("Describe the image in detail.", "prompt-leak"),
    "prompt first": ("Describe the image in detail. A dog runs.", "prompt-leak"),
    "prompt without its end": ("describe the image in detail: a dog", "prompt-leak"),
    "invented content (ShareCaptioner)": (
        "The image does not contain any imaginary content, and all descriptions are based on the "
        "visible content of the image.",
        "prompt-leak",
    ),
    "role label": ("A dog runs.\nUSER: What else?", "prompt-leak"),
    "role label first": ("Assistant: a dog runs.", "prompt-leak"),
    "speaks of instructions": ("As per your request, a dog runs.", "prompt-leak"),
    "sorry": ("I'm sorry, but I can't assist with that.", "refusal"),
    "typographic sorry": ("I’m sorry, but I can’t help.", "refusal"),
    "cannot": ("I cannot identify people in images.", "refusal"),
    "as an AI": ("As an AI language model, I have no eyes.", "refusal"),
    "no image": ("It seems that no image was provided.", "refusal"),
    "please upload": ("Please upload the image so that I can help.", "refusal"),
    "unable": ("Unfortunately, I am not able to view the image.", "refusal"),
    "wholly quoted refusal": ('"I am unable to help with this."', "refusal"),
    "does not contain": ("The image does not contain any text.", "no-content"),
    "does not contain, first": (
        "The image does not contain any text. It is a photo of a dog.",
        "no-content",
    ),
    "no text": ("no text.", "no-content"),
    "no visible text": ("There is no visible text in the image.", "no-content"),
    "there's no text": ("There's no text", "no-content"),
    "does not appear": ("There does not appear to be any text in this image.", "no-content"),
    "can see none": ("In the image, there are no words.", "no-content"),
    "none": ("None.", "no-content"),
    "not available": ("N/A", "no-content"),
    "sure": ("Sure! A dog runs on grass.", "boilerplate"),
    "certainly": ("Certainly, the image shows a dog.", "boilerplate"),
    "here is": ("Here is a detailed description of the image: a dog.", "boilerplate"),
    "label": ("Caption: a dog runs on grass.", "boilerplate"),
    "closing": ("A dog runs on grass. Let me know if you need more.", "boilerplate"),
    "hope": ("A dog runs on grass. I hope this helps!", "boilerplate"),
    "bullets": ("- a dog\n- a cat", "markup"),
    "bullet dots": ("Objects\n• a dog\n• a cat", "markup"),
    "numbered lines": ("1. a dog\n2. a cat", "markup"),
    "numbered in one line": ("Shown are 1) a dog 2) a cat", "markup"),
    "heading": ("## Scene\nA dog.", "markup"),
    "bold": ("**Dog**: it runs.", "markup"),
    "code fence": ("```\na dog\n```", "markup"),
    "JSON": ('{"caption": "a dog"}', "markup"),
    "JSON list": ('["a dog", "a cat"]', "markup"),
    "table": ("| dog | cat |\n|---|---|", "markup"),
    "image token": ("<image> A dog runs.", "markup"),
    "end token": ("A dog runs.</s>", "markup"),
    "chat token": ("A dog runs.<|im_end|>", "markup"),
    "instruction token": ("[INST] A dog runs.", "markup"),
    "byte token": ("A dog<0x0A>runs.", "markup"),
    "undecoded blanks": ("▁A▁dog▁runs", "markup"),
    "thinking": ("<think>What is it?</think> A dog.", "markup"),
    "Chinese": ("一只狗在草地上奔跑。", "language"),
    "Russian": ("Собака бежит по траве.", "language"),
    "slips into Chinese": ("A brown dog 在草地上奔跑追着球.", "language"),
    "French": ("Un chien brun court dans l'herbe avec une balle.", "language"),
    "German": ("Ein brauner Hund läuft auf dem Gras und spielt.", "language"),
    "Spanish": ("Un perro corre en el parque con una pelota.", "language"),
    "Italian": ("Un cane corre sul prato con una palla nella bocca.", "language"),
    "Portuguese": ("Um cachorro corre na grama com uma bola.", "language"),
    "Dutch": ("Een bruine hond rent op het gras.", "language"),
    "one word again": ("A A A", "repetition"),
    "salad": ("a dog the of grass runs on in a", "word-salad"),
    "too long": (" ".join(f"word{i}" for i in range(401)), "too-long"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_caption_is_rejected_for_its_fault(name: str) -> None:
    """Each fault by name, with the reason that the quarantine will show."""
    caption, expected = BAD[name]
    assert reason(caption) == expected


def test_every_check_has_a_case_of_its_own() -> None:
    """No check goes untested."""
    tested = {slug for _, slug in BAD.values()} | {"length-truncated", "too-short"}
    assert set(CHECKS) == tested


def test_a_caption_cut_inside_a_sentence_is_rejected() -> None:
    """The token limit came before the full stop."""
    assert reason("A dog runs. Behind it a", finish="length") == "length-truncated"


@pytest.mark.parametrize(
    "caption", ["A dog runs.", 'It reads "Go!"', "Dogs (three of them.)", "…7."]
)
def test_a_caption_that_ends_at_the_limit_with_its_sentence_passes(caption: str) -> None:
    """The limit alone is no fault."""
    assert reason(caption, finish="length") == "passes"


def test_a_loop_into_the_token_limit_is_called_a_loop() -> None:
    """The more telling reason wins."""
    assert reason(HAT, finish="length") == "repetition"


def test_too_few_words_are_counted_between_blanks() -> None:
    """A lone full stop is no word."""
    limits = GateLimits(min_words=3, max_words=10, max_repeats=4)
    assert check("A dog .", prompt="", finish_reason="stop", limits=limits) == "too-short"


def test_the_limit_of_repeats_is_the_recipes() -> None:
    """A 4-gram may occur `max_repeats` times and no more."""
    caption = "a red car here, then a red car here"
    strict = GateLimits(min_words=1, max_words=400, max_repeats=1)
    assert check(caption, prompt="", finish_reason="stop", limits=strict) == "repetition"
    assert reason(caption) == "passes"


def test_other_languages_pass_where_the_caller_says_so() -> None:
    """The language check is for English corpora."""
    assert reason("一只狗在草地上奔跑。", language="any") == "passes"


def test_one_sentence_of_a_long_prompt_is_a_leak() -> None:
    """A model that repeats the tail of its instructions."""
    caption = "A dog. Minimize aesthetic descriptions as much as possible."
    assert reason(caption, prompt=LONG_PROMPT) == "prompt-leak"


def test_eight_words_in_a_row_of_a_prompt_are_a_leak() -> None:
    """A model that goes on from the middle of its instructions."""
    prompt = "Say in plain words which animals stand on the left side of the old stone bridge."
    leak = "A dog and animals stand on the left side of the old town."
    assert reason(leak, prompt=prompt) == "prompt-leak"


def test_an_answer_may_use_the_words_of_its_question() -> None:
    """Six shared words are everyday English."""
    prompt = "What stands in the center of the image and why?"
    assert reason("A vase is in the center of the image.", prompt=prompt) == "passes"


def test_a_prompts_image_token_does_not_hide_a_leak() -> None:
    """The question as the model saw it."""
    assert reason(f"{PROMPT} A dog.", prompt=f"<image>\n{PROMPT}") == "prompt-leak"


@pytest.mark.parametrize(
    "prompt", [*tiny.CAPTION_PROMPTS, *tiny.OCR_PROMPTS, *tiny.GROUNDING_PROMPTS]
)
def test_the_image_worlds_answers_pass_under_its_prompts(prompt: str) -> None:
    """Dense captions and specialists' answers of the kind that the tiny loop trains on."""
    answers = (
        "a large red circle, a small blue square, a small green star and a large red cross "
        "on a gray background.",
        "red circle top left, blue square top right and green star bottom left.",
        "the number 42.",
        "red circle [031,062,219,250]; blue square [300,010,420,130].",
    )
    assert {reason(answer, prompt=prompt) for answer in answers} == {"passes"}


ODD = st.text() | st.text(st.sampled_from("a1.\"'[]<>|#-*{}: \n\ud83d\x00狗`"))


@given(
    ODD, ODD, st.sampled_from(["stop", "length", ""]), st.sampled_from(["en", "any", "fr", "ja"])
)
def test_the_gate_never_raises(caption: str, prompt: str, finish: str, language: str) -> None:
    """Any text gets a known slug or passes, whole surrogate pairs or not."""
    result = reason(caption, prompt=prompt, finish=finish, language=language)
    assert result == "passes" or result in CHECKS


@given(st.text(), st.integers(min_value=0))
def test_a_verdict_does_not_depend_on_what_was_checked_before(caption: str, seed: int) -> None:
    """The gate is pure."""
    before = reason(caption)
    reason(random.Random(seed).choice([bad for bad, _ in BAD.values()]))
    assert reason(caption) == before


HOSTILE = ("\n", "1. a ", "\n -", "please send ", "'a ", "<a ", "I can't ", "[", "ab c")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", HOSTILE)
def test_a_very_long_caption_is_checked_in_time_that_grows_with_its_length(unit: str) -> None:
    """Patterns that look ahead from every place would need minutes here."""
    limits = GateLimits(min_words=0, max_words=10**9, max_repeats=10**9)
    for fails in CHECKS.values():
        fails(Candidate(unit * (40_000 // len(unit)) + "x", PROMPT, "length", limits))


REAL = os.environ.get("VILA2_REAL_DATA", "")


@pytest.mark.skipif(not REAL, reason="set VILA2_REAL_DATA to a folder with human captions")
def test_at_least_995_in_1000_human_captions_pass() -> None:
    """`captions.csv` (Flickr8k's layout) and `captions_*.json` (COCO's), at any depth."""
    captions: list[str] = []
    for path in sorted(Path(REAL).rglob("captions.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            captions += [row["caption"] for row in csv.DictReader(file)]
    for path in sorted(Path(REAL).rglob("captions_*.json")):
        captions += [row["caption"] for row in json.loads(path.read_text())["annotations"]]
    assert captions, f"{REAL} holds no captions.csv and no captions_*.json"
    rejected = [caption for caption in captions if reason(caption) != "passes"]
    assert len(rejected) <= 0.005 * len(captions), rejected[:20]
