"""Kubeflow Trainer's own OpenAPI models, held strictly: what an API server would refuse.

The models of `kubeflow-trainer-api` are generated from the OpenAPI document of the trainer, of
which its CRDs are made as well. They let unknown fields pass, so those are looked for here. Rules
that stand only in the CRDs (CEL, such as what may not change) are not in them.
"""

from __future__ import annotations

import re
import types
import typing
from typing import Any

from kubeflow_trainer_api.models.io_k8s_apimachinery_pkg_api_resource_quantity import (
    IoK8sApimachineryPkgApiResourceQuantity as Quantity,
)
from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob
from kubeflow_trainer_api.models.trainer_v1alpha1_training_runtime import (
    TrainerV1alpha1TrainingRuntime,
)
from pydantic import BaseModel, ValidationError

KINDS: dict[str, type[BaseModel]] = {
    "TrainJob": TrainerV1alpha1TrainJob,
    "TrainingRuntime": TrainerV1alpha1TrainingRuntime,
}
_QUANTITY = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")


def unknown_fields(kind: str, value: dict[str, Any]) -> list[str]:
    """Paths of the fields that the schema does not have."""
    return list(_unknown(KINDS[kind], value, ""))


def wrong_values(kind: str, value: dict[str, Any]) -> list[str]:
    """What the schema says against the value's types, with paths."""
    wrong = [f"{path}: {text!r} is not a quantity" for path, text in _quantities(value, "")]
    try:
        KINDS[kind].from_dict(value)  # type: ignore[attr-defined]
    except ValidationError as error:
        wrong += [
            f"{error.title}.{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in error.errors()
        ]
    except (TypeError, AttributeError) as error:  # an object where a list belongs, and the like
        wrong.append(str(error))
    return wrong


def _unknown(model: Any, value: Any, path: str) -> typing.Iterator[str]:
    if typing.get_origin(model) in (typing.Union, types.UnionType):
        for choice in typing.get_args(model):
            if choice is not type(None):
                yield from _unknown(choice, value, path)
    elif typing.get_origin(model) is list and isinstance(value, list):
        for n, item in enumerate(value):
            yield from _unknown(typing.get_args(model)[0], item, f"{path}[{n}]")
    elif typing.get_origin(model) is dict and isinstance(value, dict):
        for name, item in value.items():
            yield from _unknown(typing.get_args(model)[1], item, f"{path}.{name}")
    elif isinstance(model, type) and issubclass(model, BaseModel) and isinstance(value, dict):
        if model is Quantity:
            return
        known = {field.alias or name: field for name, field in model.model_fields.items()}
        for name, item in value.items():
            if name not in known:
                yield f"{path}.{name}".lstrip(".")
            else:
                yield from _unknown(known[name].annotation, item, f"{path}.{name}")


def _quantities(value: Any, path: str) -> typing.Iterator[tuple[str, Any]]:
    """The quantities that are not well formed: the generated model takes any text."""
    if isinstance(value, list):
        for n, item in enumerate(value):
            yield from _quantities(item, f"{path}[{n}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in ("limits", "requests") and isinstance(item, dict):
                for resource, amount in item.items():
                    if not _QUANTITY.fullmatch(str(amount)):
                        yield f"{path}.{name}.{resource}".lstrip("."), amount
            else:
                yield from _quantities(item, f"{path}.{name}")
