"""Names of a model's inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import ExportError
from secateur.export.signature import flat_inputs, flat_outputs

A, B, C = (torch.full((1,), float(number)) for number in range(3))


class Pair(NamedTuple):
    boxes: Tensor
    scores: Tensor


@dataclass
class Found:
    logits: Tensor
    hidden: Tensor | None = None


def test_names_of_outputs() -> None:
    assert flat_outputs(A) == {"logits": A}
    assert list(flat_outputs((A, [B, C]))) == ["output_0", "output_1_0", "output_1_1"]
    assert flat_outputs({"z": A, "a": (B, C)}) == {"z": A, "a_0": B, "a_1": C}
    assert flat_outputs(Pair(A, B)) == {"boxes": A, "scores": B}
    assert flat_outputs((Found(A), None)) == {"output_0_logits": A}


@pytest.mark.parametrize("value", [None, 3.0, (), {"a": None}, [torch.zeros(1), "x"], Found])
def test_what_is_no_tensor(value: object) -> None:
    with pytest.raises(ExportError, match="only tensors"):
        flat_outputs(value)


class Two(nn.Module):
    def forward(self, pixels: Tensor, tokens: Any, *more: Any, flag: bool = False, **others: Any) -> Tensor:
        return pixels


def test_names_of_inputs() -> None:
    assert flat_inputs(Two(), A) == {"input": A}
    assert flat_inputs(Two(), (A, {"ids": B, "mask": (C,)})) == {"pixels": A, "tokens_ids": B, "tokens_mask_0": C}
    assert flat_inputs(Two(), (A, 3, B)) == {"pixels": A, "input_2": B}
    assert flat_inputs(Two(), {"tokens": A, "pixels": B, "flag": True}) == {"tokens": A, "pixels": B}
