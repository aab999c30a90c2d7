"""What a branch without units returns: the bias of its last layer, for every token."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.pipeline.structure.constant import ConstantBranch


@pytest.mark.parametrize("shape", [(2, 5, 8), (3, 8), (2, 4, 4, 8)])
def test_every_token_gets_the_bias_whatever_the_width_of_the_input(shape: tuple[int, ...]) -> None:
    bias = nn.Parameter(torch.randn(6))
    branch = ConstantBranch("fc2", 6, bias)
    out = branch(torch.randn(shape), None, is_causal=True)
    assert out.shape == (*shape[:-1], 6)
    assert torch.equal(out, bias.expand(out.shape))
    out.sum().backward()
    assert bias.grad is not None
    assert bias.grad.tolist() == [out.numel() / 6] * 6


def test_without_a_bias_it_is_zero_and_the_name_of_the_layer_stays() -> None:
    assert not ConstantBranch("proj", 6, None)(torch.randn(2, 8)).any()
    assert list(ConstantBranch("proj", 6, nn.Parameter(torch.zeros(6))).state_dict()) == ["proj.bias"]
    assert list(ConstantBranch("proj", 6, None).state_dict()) == []


def test_it_has_the_type_of_its_input() -> None:
    assert ConstantBranch("proj", 6, None)(torch.randn(2, 8, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("bias", [True, False])
def test_in_a_graph_it_is_spread_and_not_computed(bias: bool) -> None:
    branch = ConstantBranch("fc2", 6, nn.Parameter(torch.randn(6)) if bias else None)
    x = torch.randn(2, 5, 8)
    program = torch.export.export(branch, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.equal(program.module()(x), branch(x))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any("add" in name for name in called)
