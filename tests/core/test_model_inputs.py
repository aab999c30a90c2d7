"""Models that take several inputs, by position and by keyword, and give back nests of tensors."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import DataError, ModelError
from secateur.core.model_inputs import (
    asking,
    call,
    chosen,
    flatten,
    joined,
    map_tensors,
    members,
    moved,
    samples_of,
    tensors_in,
)

CPU = torch.device("cpu")
X, IDS, TABLE = torch.randn(3, 2), torch.arange(12).reshape(3, 4), torch.randn(5)


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass
class Result:
    logits: Tensor
    hidden: Any = None


class Sum(nn.Module):
    def forward(self, x: Tensor, ids: Tensor, extra: Any = None) -> Result:
        return Result(x.sum(1) + ids.sum(1), (x, {"extra": extra}))


@pytest.mark.parametrize(
    "inputs", [(X, IDS), [X, IDS], {"ids": IDS, "x": X}, UserDict({"x": X, "ids": IDS}), Pair(X, IDS)]
)
def test_a_model_is_called_by_position_or_by_keyword(inputs: Any) -> None:
    assert torch.equal(call(Sum(), inputs).logits, X.sum(1) + IDS.sum(1))
    assert samples_of(inputs) == 3


def test_one_tensor_is_the_only_input() -> None:
    assert call(nn.Identity(), X) is X


@pytest.mark.parametrize("inputs", [None, 3, (), [], "x", {1: X}])
def test_what_is_no_input_is_refused(inputs: Any) -> None:
    with pytest.raises(ModelError, match=r"the input of a model is an? .* tuple of what goes in by position"):
        call(nn.Identity(), inputs)


def test_all_tensors_of_an_output_are_found() -> None:
    found = tensors_in({"a": X, "b": (IDS, None, 3), "c": Result(TABLE, [X]), "d": Pair(X, "word")})
    assert [id(tensor) for tensor in found] == [id(tensor) for tensor in (X, IDS, TABLE, X, X)]
    assert members(Pair(1, 2)) == {"first": 1, "second": 2} and members(X) is None and members(Result) is None


def test_samples_are_chosen_and_joined_with_tables_left_whole() -> None:
    batch = {"x": X, "nest": Pair(IDS, [TABLE, None])}
    part = chosen(batch, slice(0, 2))
    assert torch.equal(part["x"], X[:2]) and torch.equal(part["nest"].first, IDS[:2])
    assert part["nest"].second[0] is TABLE
    again = joined([part, chosen(batch, torch.tensor([False, False, True]))])
    assert torch.equal(again["x"], X) and torch.equal(again["nest"].first, IDS) and again["nest"].second[0] is TABLE


def test_only_floating_point_inputs_change_their_type_and_ask_for_gradients() -> None:
    x, ids = moved((X, IDS), CPU, torch.float16)
    assert x.dtype == torch.float16 and ids.dtype == torch.int64
    x, ids = asking((X, IDS), CPU)
    assert x.requires_grad and not ids.requires_grad and not X.requires_grad


def test_inputs_without_a_batch_are_refused() -> None:
    with pytest.raises(DataError, match="no tensor with a batch"):
        samples_of((torch.tensor(1.0), 3))


def test_a_flattened_model_takes_tensors_and_returns_them() -> None:
    model = Sum()
    flatten(model, {"ids": IDS, "extra": {"deep": TABLE}, "x": X})
    found = model(IDS + 1, TABLE, X)
    assert found[2] is TABLE
    assert len(found) == 3
    torch.testing.assert_close(found[0], X.sum(1) + IDS.sum(1) + 4)


def test_mapping_keeps_what_is_no_tensor() -> None:
    assert map_tensors(len, Pair({"a": X}, (IDS, "word", None))) == Pair({"a": 3}, (3, "word", None))
