"""One set of tensors: what the client sends is what both engines' configurations declare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from services.caption.engines.triton_connection import _WANTED, _inputs
from services.caption.triton.contract import INPUTS, OUTPUTS
from services.caption.triton.prompts import PromptFormat
from services.caption.triton.repository import EngineOptions, config_text, publish
from services.chassis.storage.objects_directory import DirectoryObjects
from tests.support.models.tiny_preset import model
from vila2.engine.requests import Request
from vila2.model.build import VLM
from vila2.model.chat import ChatFormat
from vila2.schemas.sampling import Sampling

SAMPLING = Sampling(temperature=0.5, top_p=0.9, max_new_tokens=7)
ASK = Request(np.zeros((32, 32, 3), np.uint8), "what?", 3, SAMPLING)


def config(options: EngineOptions) -> model_config_pb2.ModelConfig:
    return text_format.Parse(config_text("m-1", options), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("options", [EngineOptions(), EngineOptions(backend="vllm", gpus=2)])
def test_the_configuration_declares_what_the_client_sends_and_reads(
    options: EngineOptions,
) -> None:
    made = config(options)
    sent = {tensor.name(): tensor.datatype() for tensor in _inputs("prompt", ASK, False)}
    declared = {t.name: model_config_pb2.DataType.Name(t.data_type) for t in made.input}
    kinds = {"TYPE_STRING": "BYTES", "TYPE_BOOL": "BOOL"}
    assert sent == {name: kinds[kind] for name, kind in declared.items()}
    assert {tensor.name() for tensor in _WANTED} == {t.name for t in made.output}
    assert made.model_transaction_policy.decoupled
    assert made.max_batch_size == 0
    assert (made.name, made.backend) == ("m-1", "python")
    assert {t.name for t in made.input if not t.optional} == {"text_input"}


def test_every_tensor_is_named_once() -> None:
    names = [tensor.name for tensor in (*INPUTS, *OUTPUTS)]
    assert len(names) == len(set(names))


def test_an_upgrade_reaches_a_model_that_is_published_already(tmp_path: Path) -> None:
    """Its code and options are written each time, its weights once."""
    objects, _ = stored_model(tmp_path)
    publish(objects, "m-1", "models/m-1", EngineOptions())
    objects.put("serving/m-1/1/model.py", b"of an older version")
    publish(objects, "m-1", "models/m-1", EngineOptions(backend="vllm", batch_size=7))
    assert b"AsyncLLM" in objects.get("serving/m-1/1/model.py")
    assert json.loads(objects.get("serving/m-1/1/model.json"))["batch_size"] == 7


def test_prompts_are_rendered_as_transformers_renders_them(tmp_path: Path) -> None:
    """And the backend finds the question in them again, markup of ours included."""
    objects, vlm = stored_model(tmp_path)
    prompts = PromptFormat.of_model(objects, "models/m-1")
    chat = ChatFormat(vlm.tokenizer, image_tokens=vlm.image_tokens)
    for question in ("what?", "a <user> and <assistant> with <image>", "größe {{ bos_token }}"):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        theirs = vlm.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        assert prompts.render(question) == theirs
        assert chat.question_of(theirs) == question
    with pytest.raises(ValueError, match="text_input"):
        chat.question_of("what?")


def stored_model(folder: Path) -> tuple[DirectoryObjects, VLM]:
    """A model in an object store."""
    vlm = model()
    vlm.save(folder / "m")
    objects = DirectoryObjects(folder / "objects")
    objects.put_directory("models/m-1", folder / "m")
    return objects, vlm
