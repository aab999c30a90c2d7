"""Precisions: what a model's tensors have, given to another model of the same tensors."""

from __future__ import annotations

from itertools import cycle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from secateur.core.errors import ModelError
from secateur.pipeline.structure.precision import Precision

DTYPES = st.lists(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]), min_size=1)


class Part(nn.Module):
    """Every kind of tensor: parameters, a shared one, buffers that are saved or not, and whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
        self.twin = nn.Linear(2, 2)
        self.twin.weight = self.linear.weight
        self.register_buffer("table", torch.ones(2), persistent=False)
        self.register_buffer("index", torch.arange(2))


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}


@given(DTYPES)
def test_a_precision_given_is_the_precision_found(dtypes: list[torch.dtype]) -> None:
    model, other = Part(), Part()
    for part, dtype in zip([model.linear, model.norm, model.twin.bias, model.table], cycle(dtypes), strict=False):
        if isinstance(part, nn.Module):
            part.to(dtype)
        else:
            part.data = part.data.to(dtype)
    precision = Precision.of(model)
    assert Precision.from_json(precision.to_json()) == precision
    shared, saved = other.linear.weight, other.state_dict().keys()
    precision.give(other)
    assert {name: t.dtype for name, t in tensors(other).items()} == {
        name: t.dtype for name, t in tensors(model).items()
    }
    assert other.twin.weight is other.linear.weight is shared
    assert other.state_dict().keys() == saved
    assert Precision.of(other) == precision


def test_the_most_common_type_is_written_once() -> None:
    model = Part().half()
    model.norm.float()
    precision = Precision.of(model)
    assert precision.most in ("float16", "float32")
    assert precision.others.keys() in (
        {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"},
        {"linear.weight", "linear.bias", "twin.weight", "twin.bias", "table"},
    )
    assert Precision.of(Part().half()) == Precision("float16")
    assert Precision.among({"index": torch.arange(3)}) == Precision()


@pytest.mark.parametrize("word", ["int64", "Tensor", "no_such", "manual_seed", 3])
def test_what_is_no_floating_point_type_is_refused(word: object) -> None:
    with pytest.raises(ModelError, match="is no floating-point type of PyTorch"):
        Precision.from_json({"most": word, "others": {}})
    with pytest.raises(ModelError, match="is no floating-point type of PyTorch"):
        Precision.from_json({"most": "float32", "others": {"x": word}})
