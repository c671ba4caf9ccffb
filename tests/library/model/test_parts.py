"""The parts of a model: found by name, or named; never half right."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vila2.model.parts import PartsError, find_parts


class Odd(nn.Module):
    """Three parts under names that nobody uses."""

    def __init__(self, **more: nn.Module) -> None:
        super().__init__()
        self.eyes = nn.Linear(2, 3)
        self.bridge = nn.Linear(3, 4)
        self.mouth = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        for name, module in more.items():
            self.add_module(name, module)

    def get_input_embeddings(self) -> nn.Module:
        return self.mouth

    def get_output_embeddings(self) -> nn.Module:
        return self.head


NAMED = {"vision": "eyes", "projector": "bridge", "language": "mouth"}


def test_unusual_names_are_an_error_that_lists_what_there_is() -> None:
    with pytest.raises(PartsError, match=r"made of eyes, bridge, mouth, head.*parts: \{vision"):
        find_parts(Odd())


def test_parts_can_be_named() -> None:
    assert find_parts(Odd(), NAMED) == NAMED


def test_the_output_layer_need_be_in_no_part() -> None:
    assert all(not name.startswith("head") for name in find_parts(Odd(), NAMED).values())


def test_a_parameter_of_no_part_is_an_error() -> None:
    model = Odd()
    model.register_parameter("newline", nn.Parameter(torch.zeros(4)))
    with pytest.raises(PartsError, match=r"1 parameters belong to no part, such as 'newline'"):
        find_parts(model, NAMED)


def test_overlapping_parts_are_an_error() -> None:
    inside = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    with pytest.raises(PartsError, match=r"the projector part 'visual\.1' shares parameters"):
        find_parts(Odd(visual=inside), {"projector": "visual.1", "language": "mouth"})


def test_an_empty_part_is_an_error() -> None:
    with pytest.raises(PartsError, match="the projector part 'connector' is empty"):
        find_parts(Odd(connector=nn.Identity()), {"vision": "eyes", "language": "mouth"})


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(PartsError, match="the vision part 'eye' is not in this Odd"):
        find_parts(Odd(), {**NAMED, "vision": "eye"})
