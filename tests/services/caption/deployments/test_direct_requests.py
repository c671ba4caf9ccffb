"""Images in the request: captions by the batch's path, and OpenAI's chat interface."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.caption.serving.openai_chat import Question, image_of, question_of, stream_of
from services.chassis.web.errors import Invalid
from tests.support.caption_platform import CaptionPlatform, caption_platform
from tests.support.datasets.samples import image
from tests.support.servers.platform_http import served
from vila2.client import ApiError
from vila2.schemas.rest import openai as api
from vila2.schemas.rest.caption import CaptionsIn, PreviewIn


@pytest.fixture(scope="module")
def captioning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptionPlatform]:
    with caption_platform(tmp_path_factory.mktemp("captioning")) as made:
        yield made


@pytest.fixture(scope="module")
def client(captioning: CaptionPlatform) -> Iterator[openai.OpenAI]:
    """The official client, over HTTP."""
    with served(captioning.platform) as url:
        yield openai.OpenAI(
            base_url=f"{url}/caption/v1", api_key=captioning.platform.key, max_retries=0
        )


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def asked(text: str = "What is this?", data: bytes | None = None) -> list:
    shown = {"type": "image_url", "image_url": {"url": data_url(data or image(0))}}
    return [{"role": "user", "content": [{"type": "text", "text": text}, shown]}]


def test_the_official_client_lists_the_models(
    client: openai.OpenAI, captioning: CaptionPlatform
) -> None:
    """Under the names of the registry."""
    assert captioning.model in [model.id for model in client.models.list()]


def test_the_official_client_gets_an_answer(
    client: openai.OpenAI, captioning: CaptionPlatform
) -> None:
    """With the tokens that it cost."""
    made = client.chat.completions.create(
        model=captioning.model, messages=asked(), max_tokens=6, temperature=1.0, seed=3
    )
    assert made.choices[0].message.role == "assistant"
    assert made.choices[0].finish_reason in ("stop", "length")
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert 1 <= made.usage.completion_tokens <= 6


def test_a_stream_gives_the_same_text_in_pieces(
    client: openai.OpenAI, captioning: CaptionPlatform
) -> None:
    """And the usage at its end where it is asked for."""
    given = {"model": captioning.model, "messages": asked(), "max_tokens": 6, "temperature": 1.0,
             "seed": 3}  # fmt: skip
    whole = client.chat.completions.create(**given)
    chunks = list(
        client.chat.completions.create(**given, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == (
        whole.choices[0].finish_reason
    )
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": [{"role": "user", "content": "no image"}]}, "messages[0].content"),
        ({"messages": asked(data=b"no image at all")}, "messages[0].content"),
        ({"messages": asked(text=" ")}, "messages[0].content"),
    ],
)
def test_what_the_model_cannot_be_asked_is_refused_with_its_field(
    client: openai.OpenAI, captioning: CaptionPlatform, change: dict, field: str
) -> None:
    """Instead of an answer to something else."""
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(**{"model": captioning.model, "messages": asked(), **change})
    assert refused.value.body["param"] == field
    assert refused.value.body["message"] in str(refused.value)


def test_a_parameter_that_has_no_effect_here_is_refused(
    client: openai.OpenAI, captioning: CaptionPlatform
) -> None:
    """A penalty that is silently ignored would be believed."""
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(
            model=captioning.model, messages=asked(), presence_penalty=1.0
        )
    assert refused.value.body["param"] == "presence_penalty"


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["x"]}, "stop"),
        ({"extra_body": {"beam_width": 4}}, "beam_width"),
    ],
)
def test_what_is_not_supported_is_named(
    client: openai.OpenAI, captioning: CaptionPlatform, option: dict, field: str
) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(model=captioning.model, messages=asked(), **option)
    assert refused.value.body["param"] == field
    assert field in refused.value.body["message"]


def test_neutral_and_null_options_change_nothing(
    client: openai.OpenAI, captioning: CaptionPlatform
) -> None:
    """Client libraries send all of them."""
    plain = client.chat.completions.create(model=captioning.model, messages=asked())
    neutral = client.chat.completions.create(
        model=captioning.model, messages=asked(), temperature=None, top_p=None, seed=None, n=1,
        frequency_penalty=0, presence_penalty=0.0, logit_bias={}, logprobs=False, stop=None,
        response_format={"type": "text"}, stream=False, store=False,
    )  # fmt: skip
    assert neutral.choices == plain.choices


def test_a_system_message_stands_before_the_question(
    client: openai.OpenAI, captioning: CaptionPlatform
) -> None:
    """Of a model that was trained without that role."""

    def answer(messages: list) -> object:
        made = client.chat.completions.create(model=captioning.model, messages=messages)
        return made.choices[0].message.content, made.usage

    instructed = [{"role": "system", "content": "Be brief."}, *asked()]
    assert answer(instructed) == answer(asked("Be brief.\nWhat is this?"))


def test_a_route_that_is_not_there_is_refused_in_openais_format(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Not Found"):
        client.embeddings.create(model="m", input="text")


def test_one_model_is_found_by_its_name(client: openai.OpenAI, captioning: CaptionPlatform) -> None:
    assert client.models.retrieve(captioning.model).id == captioning.model
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("nobody")
    assert "no model 'nobody'" in unknown.value.body["message"]


def test_an_unknown_model_and_an_unknown_key_are_told_apart(
    client: openai.OpenAI, captioning: CaptionPlatform
) -> None:
    """404 and 401, as the client expects."""
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=asked())
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong.key").models.list()


def test_captions_now_are_those_that_the_batch_makes(captioning: CaptionPlatform) -> None:
    """The same image, prompts and seed; a sample's key decides its prompt and its seed."""
    given = captioning.asked()
    given.pop("dataset")
    images = [data_url(image(n)) for n in range(3)]
    made = captioning.client.caption.captions(CaptionsIn(images=images, **given))
    again = captioning.client.caption.captions(CaptionsIn(images=images, **given))
    assert made.captions == again.captions
    assert [caption.key for caption in made.captions] == ["image-0", "image-1", "image-2"]
    previewed = captioning.client.caption.preview(PreviewIn(keys=["p0"], **captioning.asked()))
    assert set(made.captions[0].model_dump()) == set(previewed.captions[0].model_dump())


def test_a_bad_image_is_named_by_its_place(captioning: CaptionPlatform) -> None:
    """The others of the request are not captioned either."""
    given = captioning.asked()
    given.pop("dataset")
    with pytest.raises(ApiError) as refused:
        captioning.client.caption.captions(
            CaptionsIn(images=[data_url(image(0)), data_url(b"x")], **given)
        )
    assert refused.value.problem.field == "images[1]"


@pytest.mark.parametrize("text", ["http://10.0.0.1/a.png", "https://example.org/a.png"])
def test_addresses_are_not_fetched_for_a_request(text: str) -> None:
    """A service that fetches what it is told to reaches what the caller cannot."""
    with pytest.raises(Invalid, match="not fetched"):
        image_of(text, field="x")


@given(st.text(max_size=80))
def test_any_text_is_an_image_or_a_clear_refusal(text: str) -> None:
    """Whatever is sent in place of a data URL."""
    with contextlib.suppress(Invalid):
        assert isinstance(image_of(text, field="x"), bytes)


def test_several_texts_of_a_message_are_one_question() -> None:
    """In their order, around the image."""
    image = api.ImagePart(type="image_url", image_url=api.ImageUrl(url=data_url(b"abc")))
    parts = [
        api.TextPart(type="text", text="What"),
        image,
        api.TextPart(type="text", text="is it?"),
    ]
    message = api.Message(role="user", content=parts)
    assert question_of([message]) == Question([b"abc"], "What is it?", "", "messages[0].content")


@given(st.lists(st.text(max_size=20), max_size=6))
def test_a_stream_loses_no_character(pieces: list[str]) -> None:
    """Blanks, line ends and quotes included."""
    text = "".join(pieces)
    completion = api.ChatCompletion(
        id="c", created=1, model="m",
        choices=[api.Choice(message=api.ChatMessage(content=text), finish_reason="stop")],
        usage=api.Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2),
    )  # fmt: skip
    sent = stream_of(iter([*pieces, completion]), model="m", usage=False)
    events = [event.removeprefix("data: ").strip() for event in sent]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == text
