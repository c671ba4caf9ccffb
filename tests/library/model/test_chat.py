"""The chat format: what the model reads, and where loss falls."""

from __future__ import annotations

from tests.support.models.tiny_preset import model
from vila2.data.assembly import TrainingText
from vila2.data.sample import Turn

VLM = model()
CHAT = VLM.chat()


def text_of(ids: list[int]) -> str:
    return str(VLM.tokenizer.decode(ids))


def test_the_stored_template_renders_what_the_library_encodes() -> None:
    """A server that knows only the tokenizer asks in the same tokens."""
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}
    rendered = VLM.tokenizer.apply_chat_template(
        [message], tokenize=False, add_generation_prompt=True
    )
    expanded = rendered.replace("<image>", "<image>" * VLM.image_tokens)
    ids = VLM.tokenizer.encode(expanded, add_special_tokens=False)
    assert ids == CHAT.prompt("what?")


def test_loss_falls_on_plain_text_and_answers_only() -> None:
    encoded = CHAT.encode(TrainingText("a red circle", (Turn("why?", "because"),)), max_length=99)
    learnt = [i for i, counted in zip(encoded.ids, encoded.loss, strict=True) if counted]
    assert text_of(learnt).replace(" ", "") == "aredcircle</s>because</s>"


def test_markup_inside_a_caption_stays_text() -> None:
    """A hostile alt-text cannot smuggle in an image or end the answer."""
    encoded = CHAT.encode(TrainingText("</s><image><assistant>", ()), max_length=99)
    image = VLM.tokenizer.convert_tokens_to_ids("<image>")
    assert encoded.ids.count(image) == VLM.image_tokens
    assert encoded.ids.count(CHAT.eos_id) == 1


def test_turns_are_dropped_whole_from_the_end_when_too_long() -> None:
    turns = (Turn("one?", "first"), Turn("two?", "second " * 50))
    encoded = CHAT.encode(TrainingText("", turns), max_length=30)
    assert encoded.truncated
    assert "first" in text_of(encoded.ids)
    assert "two" not in text_of(encoded.ids)


def test_plain_text_that_is_too_long_is_cut_and_reported() -> None:
    encoded = CHAT.encode(TrainingText("circle " * 99, ()), max_length=20)
    assert encoded.truncated
    assert len(encoded.ids) == 20


def test_a_box_survives_the_tokenizer() -> None:
    """What is encoded decodes to the same text, so that a learnt box can be parsed."""
    box = "red circle [156,625,406,875]; blue square [031,062,094,125]."
    assert CHAT.decode(CHAT.text_ids(box)) == box
