"""A module's own graph: traced alone, open where its inputs' lengths follow the samples, in both modes."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from secateur.pipeline.structure.codegen.calls import CodeError, record_all
from secateur.pipeline.structure.codegen.own_graph import OwnGraph, own_graph
from secateur.pipeline.structure.graph.program import is_symbol, operation_of
from tests.pipeline.structure.codegen.taking_over import Around, Code

EXAMPLE = torch.randn(2, 3, 6, 6)


class Returned(NamedTuple):
    map: Tensor
    more: Any


def graph_of(function: Any, training: bool = False, **parts: nn.Module | nn.Parameter) -> OwnGraph:
    model = Around(nn.Conv2d(3, 8, 1), Code(function, **parts), Code(lambda m, x: x[0])).train()
    calls = record_all(model, EXAMPLE)
    found = own_graph(model.get_submodule("inner"), "inner", calls, training)
    assert all(module.training for module in model.modules()), "the model is left as it was"
    return found


def test_only_lengths_that_follow_the_samples_are_open() -> None:
    found = graph_of(lambda m, x: x * 2)
    node = found.inputs[0]
    assert [is_symbol(size) for size in node.meta["val"].shape] == [True, False, True, True]
    settled = graph_of(lambda m, x: x.view(-1, 8, 6, 6))
    assert is_symbol(settled.inputs[0].meta["val"].shape[0])


def test_parameters_buffers_and_numbers_are_told_apart() -> None:
    parts = {"norm": nn.BatchNorm2d(8), "scale": nn.Parameter(torch.rand(8, 1, 1))}
    found = graph_of(lambda m, x: m.norm(x) * m.scale + torch.tensor([[[1.5]]] * 8), **parts)
    named = set(found.attributes.values())
    assert {"scale", "norm.weight", "norm.running_mean"} <= named
    assert [tuple(number.shape) for number in found.numbers.values()] == [(8, 1, 1)]
    assert len(found.inputs) == len(found.results) == 1
    assert {node.op for node in found.operations} == {"call_function"}


def test_what_is_returned_is_known_leaf_by_leaf() -> None:
    found = graph_of(lambda m, x: Returned(x * 2, {"size": (x.shape[2], None), "word": "a"}))
    assert [leaf if not isinstance(leaf, fx.Node) else leaf.op for leaf in found.results] == [
        "call_function", "call_function", None, "a",
    ]  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_that_which_is_asked_for(training: bool) -> None:
    found = graph_of(lambda m, x: F.dropout(x, 0.3, m.training), training)
    (dropout,) = [node for node in found.operations if operation_of(node) == "dropout"]
    assert dropout.args[1:] == (0.3, training) and found.training == training


def test_conditions_of_the_way_that_is_taken_are_kept() -> None:
    found = graph_of(lambda m, x: x.relu() if x.shape[2] % 4 == 2 else x)
    assert found.guards == ("(L['inputs'][0].size()[2] % 4) == 2",)
    assert graph_of(lambda m, x: x.relu()).guards == ()


@pytest.mark.parametrize("region", [torch.no_grad, torch.inference_mode, lambda: torch.set_grad_enabled(False)])
@pytest.mark.parametrize("training", [True, False])
def test_regions_without_gradients_are_kept(region: Any, training: bool) -> None:
    def partly(m: Any, x: Tensor) -> Tensor:
        with region():
            y = m.one(x)
        return x + y.detach()

    found = graph_of(partly, training, one=nn.Conv2d(8, 8, 1))
    names = [operation_of(node) for node in found.operations]
    assert names == ["gradients", "conv2d", "end_of", "detach", "add"] and found.operations[0].args == (False,)


def test_a_graph_within_is_refused() -> None:
    def condition(m: Any, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x * 3, (x,))  # type: ignore[no-any-return]

    with pytest.raises(CodeError, match="a graph of its own, such as a condition"):
        graph_of(condition)
