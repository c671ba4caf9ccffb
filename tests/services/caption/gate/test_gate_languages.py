"""The gate's languages: which caption is in another one, and what is refused at the door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.caption.gate import detector
from services.caption.gate.gate import GateLimits, check
from services.caption.gate.requirements import check_languages
from services.caption.gate.words import count_words, words_of
from services.caption.jobs.recipe_hash import recipe_hash
from services.chassis.web.errors import Invalid
from tests.services.caption.deployments.test_direct_requests import data_url
from tests.services.caption.layers.test_recipe_hash import ENGINE
from tests.support import human_captions
from tests.support.caption_platform import CaptionPlatform, caption_platform
from tests.support.datasets.samples import image
from vila2.client import ApiError
from vila2.recipes.recipe import RecipeError, parse_recipe, recipe_text
from vila2.schemas.rest.caption import CaptionJobIn, CaptionsIn, PreviewIn
from vila2.schemas.sampling import LANGUAGES, Gate

Language = str | list[str]


def reason(caption: str, language: Language, *, finish: str = "stop", **gate: Any) -> str:
    limits = GateLimits.of(Gate(language=language, **gate))
    return check(caption, prompt="", finish_reason=finish, limits=limits) or "passes"


@pytest.mark.parametrize("language", human_captions.CAPTIONS)
def test_captions_of_people_pass_in_their_language_and_where_any_will_do(language: str) -> None:
    for caption in human_captions.CAPTIONS[language]:
        for asked in (language, [language, "sw"], "any"):
            assert (asked, reason(caption, asked), caption) == (asked, "passes", caption)


@pytest.mark.parametrize("language", human_captions.CAPTIONS)
def test_a_sentence_in_another_language_is_rejected(language: str) -> None:
    """The detector decides; English alone is told by function words, tested in `test_gate`."""
    for other in human_captions.CAPTIONS:
        if other == language:
            continue
        for caption in human_captions.CAPTIONS[other][:2]:
            assert (other, reason(caption, [language, "sw"])) == (other, "language")


@pytest.mark.parametrize(
    ("caption", "language"),
    [
        ("Un perro.", "fr"),
        ("Taxi.", "de"),
        ("Hund", "fr"),
        ("“Do not enter”", "es"),
        ("一台NIKE运动鞋放在桌上。", "zh"),
        ("犬", "zh"),
        ("Ein Schild mit der Aufschrift „Please mind the gap between train and platform“.", "de"),
        ("[031,062,219,250]", "ru"),
    ],
)
def test_a_text_too_short_to_be_told_passes(caption: str, language: str) -> None:
    """A false rejection is worse than a pass."""
    assert reason(caption, language) == "passes"


def test_a_caption_that_slips_into_another_script_is_rejected() -> None:
    assert reason("Un chien brun 在草地上奔跑追着一个红色的球.", "fr") == "language"
    assert reason("一只棕色的狗 бежит по траве за красным мячом", "zh") == "language"


def test_a_gate_of_several_languages_takes_each_of_them() -> None:
    french, german = human_captions.CAPTIONS["fr"][0], human_captions.CAPTIONS["de"][0]
    assert [reason(text, ["de", "fr"]) for text in (french, german)] == ["passes", "passes"]
    assert reason(human_captions.CAPTIONS["pl"][0], ["de", "fr"]) == "language"


def test_english_phrases_are_held_against_english_texts_only() -> None:
    assert reason("Null.", "de") == reason("Description : un chien brun.", "fr") == "passes"
    assert reason("I'm sorry, but I can't assist with that.", "fr") == "refusal"
    assert reason("Sure! A dog runs on grass.", "any") == "boilerplate"


def test_a_prompt_in_any_script_that_comes_back_is_a_leak() -> None:
    limits = GateLimits.of(Gate(language="any"))
    for prompt, caption in (
        ("请详细描述这张图片。", "请详细描述这张图片。一只狗在草地上奔跑。"),
        ("Décris l'image en détail.", "Décris l'image en détail. Un chien court."),
        ("इस चित्र का वर्णन कीजिए।", "इस चित्र का वर्णन कीजिए। एक कुत्ता दौड़ रहा है।"),
    ):
        assert check(caption, prompt=prompt, finish_reason="stop", limits=limits) == "prompt-leak"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dog .", 2),
        ("一只棕色的狗在草地上奔跑。", 6),
        ("狗", 1),
        ("NIKE的鞋", 2),
        ("สุนัขสีน้ำตาล", 5),
        ("एक भूरा कुत्ता घास पर दौड़ रहा है।", 8),
        ("[031,062,219,250]", 1),
    ],
)
def test_words_are_counted_in_scripts_without_blanks_too(text: str, words: int) -> None:
    """Two letters for a word."""
    assert count_words(text) == words


def test_a_chinese_caption_is_not_one_long_word() -> None:
    caption = human_captions.CAPTIONS["zh"][0]
    assert reason(caption, "zh", min_words=3) == "passes"
    assert reason(caption, "zh", max_words=3) == "too-long"


def test_marks_hyphens_and_apostrophes_stay_in_their_words() -> None:
    assert words_of("हिन्दी में छोटी-सी लड़की") == ["हिन्दी", "में", "छोटी-सी", "लड़की"]
    assert words_of("L'État, kupu-kupu!") == ["l'état", "kupu-kupu"]


@pytest.mark.parametrize("caption", ["一只狗。", "एक कुत्ता।", "كلب يركض؟", "ውሻ።", "「犬。」"])
def test_a_sentence_that_ends_with_its_scripts_full_stop_is_not_cut(caption: str) -> None:
    assert reason(caption, "any", finish="length") == "passes"


def test_the_schema_knows_the_detectors_languages() -> None:
    assert set(LANGUAGES) == detector.known_languages()


@pytest.mark.parametrize(
    ("given", "kept"),
    [("fr", "fr"), (["fr"], "fr"), (["fr", "de", "fr"], ["de", "fr"]), (["any"], "any")],
)
def test_equal_choices_have_one_spelling(given: Language, kept: Language) -> None:
    """So that their hashes are equal."""
    assert Gate(language=given).language == kept


@pytest.mark.parametrize(
    "given", ["xx", "English", "", [], ["any", "fr"], ["fr", 3], 3, None, False]
)
def test_an_unknown_language_is_an_error_of_its_field(given: object) -> None:
    text = recipe_text("tiny").replace("min_words: 1}", f"min_words: 1, language: {given!r}}}")
    with pytest.raises(RecipeError, match=r"captioning\.gate\.language: .*give 'any'"):
        parse_recipe(text.replace("None", "null"), source="tiny")


def test_a_language_without_its_detector_is_refused_with_the_fix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detector, "installed_version", lambda: None)
    with pytest.raises(Invalid, match="de or fr") as refused:
        check_languages(Gate(language=["fr", "de"]))
    assert refused.value.field == "gate.language"
    assert "pip install 'vila2[language]'" in refused.value.fix
    check_languages(Gate())
    check_languages(Gate(language="any"))


@pytest.fixture(scope="module")
def captioning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptionPlatform]:
    with caption_platform(tmp_path_factory.mktemp("gate")) as made:
        yield made


def test_it_is_refused_before_work_is_queued(
    monkeypatch: pytest.MonkeyPatch, captioning: CaptionPlatform
) -> None:
    """By layers, previews and captions of images in the request alike."""
    monkeypatch.setattr(detector, "installed_version", lambda: None)
    asked = captioning.asked(gate=Gate(language="fr"))
    direct = {name: value for name, value in asked.items() if name != "dataset"}
    captions, before = captioning.client.caption, captioning.client.datasets.layers()
    for call in (
        lambda: captions.start_job(captioning.job(gate=Gate(language="fr"))),
        lambda: captions.preview(PreviewIn(keys=["p0"], **asked)),
        lambda: captions.captions(CaptionsIn(images=[data_url(image(0))], **direct)),
    ):
        with pytest.raises(ApiError, match="no language detector") as refused:
            call()
        assert (refused.value.problem.status, refused.value.problem.field) == (422, "gate.language")
    assert captioning.client.datasets.layers() == before


def test_the_detector_is_part_of_the_hash_where_it_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hashed(language: Language) -> str:
        body = CaptionJobIn(
            name="n", dataset="d", model="m", prompts=["p"], gate=Gate(language=language)
        )
        return recipe_hash(body, ENGINE, image_size=32)

    languages: tuple[Language, ...] = ("en", "any", "fr", ["de", "fr"])
    before = [hashed(language) for language in languages]
    assert len(set(before)) == len(languages)
    monkeypatch.setattr(detector, "installed_version", lambda: "99")
    changed = [hashed(language) != old for language, old in zip(languages, before, strict=True)]
    assert changed == [False, False, True, True]
