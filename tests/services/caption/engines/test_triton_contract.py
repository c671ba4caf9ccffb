"""One set of tensors: what the client sends is what both backends' configurations declare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer
from tritonclient.grpc import model_config_pb2

from services.caption.engines.triton_connection import _WANTED, _inputs
from services.caption.triton.contract import INPUTS, OUTPUTS, sampling_text
from services.caption.triton.prompts import PromptFormat
from services.caption.triton.repository import EngineOptions, config_text, engine_text, publish
from services.chassis.storage.objects_directory import DirectoryObjects
from tests.support.models.tiny_preset import model
from vila2.engine.requests import Request
from vila2.model.build import VLM
from vila2.model.chat import ChatFormat
from vila2.schemas.sampling import Sampling

# What vllm_backend's model.py declares (auto_complete_config), of the tensors that we use.
VLLM = {
    "text_input": ("TYPE_STRING", [1]),
    "image": ("TYPE_STRING", [-1]),
    "stream": ("TYPE_BOOL", [1]),
    "sampling_parameters": ("TYPE_STRING", [1]),
    "exclude_input_in_output": ("TYPE_BOOL", [1]),
    "return_finish_reason": ("TYPE_BOOL", [1]),
    "return_cumulative_logprob": ("TYPE_BOOL", [1]),
    "return_num_input_tokens": ("TYPE_BOOL", [1]),
    "return_num_output_tokens": ("TYPE_BOOL", [1]),
    "text_output": ("TYPE_STRING", [-1]),
    "finish_reason": ("TYPE_STRING", [-1]),
    "cumulative_logprob": ("TYPE_FP32", [-1]),
    "num_input_tokens": ("TYPE_UINT32", [1]),
    "num_output_tokens": ("TYPE_UINT32", [-1]),
}
SAMPLING = Sampling(temperature=0.5, top_p=0.9, max_new_tokens=7)
ASK = Request(np.zeros((32, 32, 3), np.uint8), "what?", 3, SAMPLING)


def config(options: EngineOptions) -> model_config_pb2.ModelConfig:
    return text_format.Parse(config_text("m-1", options), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("options", [EngineOptions(), EngineOptions(backend="vllm", gpus=2)])
def test_the_configuration_declares_what_the_client_sends_and_reads(
    options: EngineOptions,
) -> None:
    made = config(options)
    tensors = {t.name: (model_config_pb2.DataType.Name(t.data_type), list(t.dims))
               for t in [*made.input, *made.output]}  # fmt: skip
    assert tensors == VLLM
    sent = {tensor.name(): tensor.datatype() for tensor in _inputs("prompt", ASK, False)}
    declared = {t.name: model_config_pb2.DataType.Name(t.data_type) for t in made.input}
    kinds = {"TYPE_STRING": "BYTES", "TYPE_BOOL": "BOOL"}
    assert sent == {name: kinds[kind] for name, kind in declared.items()}
    assert {tensor.name() for tensor in _WANTED} == {t.name for t in made.output}
    assert made.model_transaction_policy.decoupled
    assert made.max_batch_size == 0
    assert (made.name, made.backend) == ("m-1", options.backend)
    assert {t.name for t in made.input if not t.optional} == {"text_input"}


def test_every_tensor_is_named_once() -> None:
    names = [tensor.name for tensor in (*INPUTS, *OUTPUTS)]
    assert len(names) == len(set(names))


def test_vllm_gets_engine_arguments_and_python_its_options() -> None:
    """model.json is AsyncEngineArgs for the one: a path, one image a prompt, our batch."""
    options = EngineOptions(backend="vllm", gpus=2, batch_size=256, checkpoints="/mnt/serving")
    made = json.loads(engine_text("m-1", options))
    assert made["model"] == "/mnt/serving/m-1/1/checkpoint"
    assert (made["tensor_parallel_size"], made["max_num_seqs"]) == (2, 256)
    assert made["limit_mm_per_prompt"] == {"image": 1}
    assert json.loads(engine_text("m-1", EngineOptions())) == {
        "batch_size": 64, "max_waiting": 512, "threads": 0,
    }  # fmt: skip


def test_prompts_are_rendered_as_transformers_renders_them(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """And the backend finds the question in them again, markup of ours included."""
    vlm = model()
    vlm.save(tmp_path / "m")
    objects = DirectoryObjects(tmp_path / "objects")
    objects.put_directory("models/m-1", tmp_path / "m")
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


def stored_model(folder: Path, *, adds_bos: bool = False) -> tuple[DirectoryObjects, VLM]:
    """A model in an object store; its tokenizer may add the first token itself, as Llama 3's."""
    vlm = model()
    if adds_bos:
        bos = vlm.tokenizer.bos_token
        vlm.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, vlm.tokenizer.bos_token_id)]
        )
    vlm.save(folder / "m")
    objects = DirectoryObjects(folder / "objects")
    objects.put_directory("models/m-1", folder / "m")
    return objects, vlm


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("question", ["what?", "what is this <image> about?", "<user> größe"])
def test_a_prompt_that_vllm_tokenizes_has_our_tokens_once(
    tmp_path: Path, adds_bos: bool, question: str
) -> None:
    """One first token, one image, one question, whatever stands in it."""
    objects, _ = stored_model(tmp_path, adds_bos=adds_bos)
    prompt = PromptFormat.of_model(objects, "models/m-1", whole=True).render(question)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m", local_files_only=True)
    ids = tokenizer(prompt)["input_ids"]
    for token in (tokenizer.bos_token, "<image>", "<user>", "<assistant>"):
        assert ids.count(tokenizer.convert_tokens_to_ids(token)) == 1, token


def test_vllm_is_asked_for_log_probabilities() -> None:
    """Their sum is NaN otherwise."""
    assert json.loads(sampling_text(SAMPLING, seed=3))["logprobs"] == 0


def test_vllm_is_given_no_more_positions_than_the_model_has(tmp_path: Path) -> None:
    objects, vlm = stored_model(tmp_path)
    publish(objects, "m-1", "models/m-1", EngineOptions(backend="vllm"))
    positions = vlm.model.config.text_config.max_position_embeddings
    made = json.loads(objects.get("serving/m-1/1/model.json"))
    assert made["max_model_len"] == min(4096, positions)
