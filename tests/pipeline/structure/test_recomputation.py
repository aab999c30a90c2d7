"""Outputs with gradients that hold little: as exact as those that hold everything, and the model is as it was."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.recomputation import _Held, blocks_of, outputs_with_gradients


def gradients(model: nn.Module, outputs: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(sum(output.square().sum() for output in outputs), list(model.parameters())))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_what_is_computed_twice_is_the_same(name: str) -> None:
    model = timm.create_model(name).eval().double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64) if name != "test_vit" else torch.randn(2, 3, 160, 160).double()
    whole, spared = outputs_with_gradients(model, x), outputs_with_gradients(model, x, held=0)
    for one, other in zip(whole, spared, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(gradients(model, whole), gradients(model, spared), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("held", "again"), [(10**9, 0), (0, 1)])
def test_blocks_that_would_hold_too_much_run_again_for_the_backward_pass(held: int, again: int) -> None:
    model = timm.create_model("test_vit").eval()
    calls = []
    model.blocks[0].norm1.register_forward_hook(lambda *_: calls.append(1))
    outputs = outputs_with_gradients(model, torch.randn(2, 3, 160, 160), held)
    before = len(calls)
    gradients(model, outputs)
    assert len(calls) - before == again


def test_the_model_is_as_it_was_also_after_an_error() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[0] == 3:
                raise ValueError("three")
            return self.layer(x)

    model = nn.Sequential(Block(), Block())
    own = model[0].forward = Block.forward.__get__(model[0])  # some modules choose their code when they are made
    outputs_with_gradients(model, torch.randn(2, 4), held=0)
    assert model[0].__dict__["forward"] is own and "forward" not in model[1].__dict__
    with pytest.raises(ValueError, match="three"):
        outputs_with_gradients(model, torch.randn(3, 4), held=0)
    assert model[0].__dict__["forward"] is own and "forward" not in model[1].__dict__


def test_blocks_are_the_innermost_parts_that_have_parts() -> None:
    block = [nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(3)]
    model = nn.Sequential(nn.Sequential(*block[:2]), nn.ModuleList([block[2], nn.Linear(2, 2)]))
    assert blocks_of(model) == block


def test_what_is_held_is_counted_once_and_without_the_models_own() -> None:
    layer = nn.Linear(8, 8)
    held = _Held(layer, 100)
    x = torch.zeros(4, 4)
    for tensor in (x, x[1:], x.T, layer.weight, layer.weight[1:]):
        held(tensor)
    assert held.left == 100 - 64
