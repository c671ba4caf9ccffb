"""Synchronous captions and chat answers for images in the request; no layer, no work units."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

from services.caption.captioning.chunks import caption_samples
from services.caption.captioning.how import Captioning, check_abilities, check_present, preview_of
from services.caption.captioning.images import prepared
from services.caption.engines.engine import Engine, Engines
from services.caption.gate.requirements import check_languages
from services.caption.jobs.quotas import ImageQuotas
from services.caption.serving.deployments import Deployments
from services.caption.serving.openai_chat import DEFAULT_TOKENS, image_of, question_of
from services.chassis.web.errors import Invalid
from vila2.client import Client
from vila2.data.admission import admit
from vila2.data.sample import RawSample, Sample
from vila2.engine.requests import Request
from vila2.schemas.rest import caption as api
from vila2.schemas.rest import openai
from vila2.schemas.sampling import Sampling


class Direct:
    """Uses the same engines as caption jobs."""

    def __init__(
        self,
        engines: Engines,
        platform: Callable[[str], Client],
        deployments: Deployments,
        quotas: ImageQuotas,
    ) -> None:
        self._engines, self._platform, self._deployments = engines, platform, deployments
        self._quotas = quotas

    def captions(self, team: str, body: api.CaptionsIn) -> api.Preview:
        """Caption images as caption jobs do: prompts drawn by seed, the gate, retries."""
        check_languages(body.gate)
        samples = [
            _sample(image_of(image, field=f"images[{n}]"), f"image-{n}", field=f"images[{n}]")
            for n, image in enumerate(body.images)
        ]
        name = self._deployments.resolve(team, body.model)
        model = self._platform(team).training.model(name)
        check_present(model)
        check_abilities(body, self._engines.abilities(model.object_prefix))
        engine = self._engines.get(model.object_prefix)
        self._quotas.admit(team, len(samples))
        began = time.monotonic()
        rows, spent = caption_samples(samples, Captioning.of(body, model=model.name), engine)
        return preview_of(rows, seconds=round(time.monotonic() - began, 3), spent=spent)

    def chat(self, team: str, body: openai.ChatIn) -> Iterator[str | openai.ChatCompletion]:
        """Stream one unfiltered answer: pieces of text, then the complete response.

        No gate and no retries. Request errors are raised here, before the first piece.
        """
        model = self._platform(team).training.model(self._deployments.resolve(team, body.model))
        check_present(model)
        abilities = self._engines.abilities(model.object_prefix)
        asked = question_of(body.messages, most_images=abilities.most_images)
        # OpenAI's clients send instructions as a system message. A model without that role gets
        # them before the question.
        system, question = asked.system, asked.text
        if system and abilities.no_system:
            system, question = "", f"{system}\n{question}"
        samples = [_sample(image, "image", field=asked.field) for image in asked.images]
        engine = self._engines.get(model.object_prefix)
        first, *more = (prepared(sample.image, engine.image_input) for sample in samples)
        request = Request(
            image=first,
            question=question,
            seed=body.seed or 0,
            sampling=Sampling(
                temperature=body.temperature or 0.0,
                top_p=body.top_p or 1.0,
                max_new_tokens=body.max_completion_tokens or body.max_tokens or DEFAULT_TOKENS,
            ),
            sha256=samples[0].sha256,
            more_images=tuple(more),
            system=system,
        )
        self._quotas.admit(team, 1)
        return _completing(body, engine, request)

    def models(self, team: str) -> openai.ServedModels:
        """The team's endpoints and models, usable as `model` in requests."""
        names = [endpoint.name for endpoint in self._deployments.endpoints(team) if endpoint.model]
        models = self._platform(team).training.models()
        names += [model.short_name or model.name for model in models]
        served = [openai.ServedModel(id=name, owned_by=team) for name in names]
        return openai.ServedModels(data=served)

    def model(self, team: str, name: str) -> openai.ServedModel:
        """One of them; raises `NotFound`."""
        for served in self.models(team).data:
            if served.id == name:
                return served
        found = self._platform(team).training.model(name)
        return openai.ServedModel(id=found.name, owned_by=team)


def _sample(image: bytes, key: str, *, field: str) -> Sample:
    """The image, checked against the same limits as a submitted one."""
    made = admit(RawSample(key, key, image), captionless=True)
    if isinstance(made, Sample):
        return made
    raise Invalid(made.detail, field=field, fix=f"send another image ({made.reason})")


def _completing(
    body: openai.ChatIn, engine: Engine, request: Request
) -> Iterator[str | openai.ChatCompletion]:
    identity, created = f"chatcmpl-{uuid.uuid4().hex[:24]}", int(time.time())
    for piece in engine.stream(request):
        if isinstance(piece, str):
            yield piece
            continue
        if piece.refusal:
            raise Invalid(piece.refusal, field="messages", fix="send a smaller image or prompt")
        yield openai.ChatCompletion(
            id=identity,
            created=created,
            model=body.model,
            choices=[
                openai.Choice(
                    message=openai.ChatMessage(content=piece.text),
                    finish_reason="length" if piece.finish_reason == "length" else "stop",
                )
            ],
            usage=openai.Usage(
                prompt_tokens=piece.prompt_tokens,
                completion_tokens=piece.tokens,
                total_tokens=piece.prompt_tokens + piece.tokens,
            ),
        )
