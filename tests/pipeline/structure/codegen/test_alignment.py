"""Alignment: a module's own graph takes the steps of the whole model's, but for what a mode decides."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from secateur.pipeline.structure.codegen.alignment import Alignment, align, arguments_of
from secateur.pipeline.structure.codegen.body import Body
from secateur.pipeline.structure.codegen.calls import record_calls
from secateur.pipeline.structure.graph.program import exported, operation_of
from tests.pipeline.structure.codegen.taking_over import Code

EXAMPLE = torch.randn(2, 3, 8)


def body(model: nn.Module, training: bool) -> Body:
    nodes = list(exported(model, EXAMPLE, training).graph.nodes)
    parameters = [node for node in nodes if node.op == "placeholder" and node.name != "x"]
    return Body([node for node in nodes if node.op == "call_function"], 1, parameters, (), record_calls(model, EXAMPLE))


def aligned(model: nn.Module, other: nn.Module | None = None) -> Alignment | None:
    """A model in training against another (or itself) in evaluation."""
    return align(body(model, True), body(other or model, False))


class Depth(nn.Module):
    """Stochastic depth, a module that does nothing in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rand(len(x), 1, 1) if self.training else x


def block(m: Any, x: Tensor) -> Tensor:
    y = F.scaled_dot_product_attention(x, x, x, dropout_p=0.3 if m.training else 0.0)
    return x + m.depth(m.drop(F.dropout(m.fc(y), 0.2, m.training)))


def test_steps_are_paired_and_what_the_mode_decides_is_known() -> None:
    found = aligned(Code(block, depth=Depth(), drop=nn.Dropout(0.1), fc=nn.Linear(8, 8)))
    assert found is not None
    assert all(
        operation_of(one) == operation_of(two) for one, two in found.partners.items() if one.op != "call_function"
    )
    switches = {operation_of(node): switch for node, switch in found.switches.items()}
    assert switches == {
        "scaled_dot_product_attention": {"dropout_p": (0.3, 0.0)},
        "dropout": {"train": (True, False)},
    }
    assert [call.path for call in found.idle] == ["depth"]
    (idle,) = found.idle
    assert found.partners[idle.result] is found.partners[idle.source], "nothing happens to it in evaluation"


def test_slices_of_everything_are_no_steps_but_others_are() -> None:
    def sliced(length: int) -> Code:
        return Code(lambda m, x: torch.ops.aten.slice.Tensor(x.relu(), 1, 0, length) + 1)

    for same in (lambda m, x: x.relu() + 1, lambda m, x: torch.ops.aten.alias.default(x.relu()) + 1):
        assert aligned(sliced(3), Code(same)) is not None
        assert aligned(sliced(2), Code(same)) is None


OTHER: dict[str, tuple[Any, Any]] = {
    "another operation": (lambda m, x: x.relu(), lambda m, x: x.sigmoid()),
    "one more": (lambda m, x: x.relu() + 1, lambda m, x: x.relu()),
    "one less": (lambda m, x: x.relu(), lambda m, x: x.relu() + 1),
    "another shape": (lambda m, x: x.view(-1, 24), lambda m, x: x.view(-1, 2, 12)),
    "another list": (lambda m, x: x.permute(0, 2, 1), lambda m, x: x.permute(0, 1, 2)),
    "another source": (lambda m, x: (x + 1) * x, lambda m, x: (x + 1) * (x + 1)),
    "another type": (lambda m, x: x.to(torch.float64), lambda m, x: x.to(torch.float16)),
    "a branch of training": (lambda m, x: x * 2 if m.training else x * x, lambda m, x: x * x),
}


@pytest.mark.parametrize("case", list(OTHER))
def test_other_steps_are_not_paired(case: str) -> None:
    one, two = OTHER[case]
    assert aligned(Code(one), Code(two)) is None
    assert aligned(Code(two), copy.deepcopy(Code(two))) is not None


def test_an_inlined_branch_of_training_is_another_code() -> None:
    def inlined(m: Any, x: Tensor) -> Tensor:
        return x * torch.rand(len(x), 1, 1) if m.training else x.clone()

    assert aligned(Code(inlined)) is None


def test_arguments_have_their_names_and_defaults() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    short = graph.call_function(torch.ops.aten.dropout.default, (x, 0.5), {"train": True})
    assert arguments_of(short) == {"input": x, "p": 0.5, "train": True}
    flat = graph.call_function(torch.ops.aten.flatten.using_ints, (x,))
    assert arguments_of(flat) == {"self": x, "start_dim": 0, "end_dim": -1}
    assert arguments_of(graph.call_function(max, (x, 3))) == {"0": x, "1": 3}
