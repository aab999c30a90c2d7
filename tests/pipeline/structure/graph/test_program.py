"""The traced program: for any batch, in evaluation mode, with the modules of its nodes."""

from __future__ import annotations

import random

import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from secateur.pipeline.structure.graph.program import (
    SAMPLES,
    Ancestry,
    aliases_of,
    exported,
    lengths,
    module_of,
    operation_of,
    stack_of,
)


class Outer(nn.Module):
    """A module that calls another twice, and a function of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(self.inner(x)).relu_()
        return out


def test_a_program_runs_for_any_batch_in_evaluation_mode() -> None:
    model = Outer().train()
    model.inner[1].eval()
    program = exported(model, torch.randn(1, 4))
    assert [module.training for module in model.modules()] == [True, True, True, False]
    for batch in (1, 2, 5):
        x = torch.randn(batch, 4)
        torch.testing.assert_close(program.module()(x), copy_of(model)(x))


def copy_of(model: nn.Module) -> nn.Module:
    model.eval()
    return model


def test_the_batch_has_the_length_of_the_example() -> None:
    program = exported(Outer(), torch.randn(7, 4))
    outputs = [node.meta["val"] for node in program.graph.nodes if node.op == "call_function"]
    assert {lengths(value) for value in outputs} == {(SAMPLES, 4)}
    assert not any(isinstance(value.shape[0], int) for value in outputs)


def test_nodes_know_their_operation_and_their_modules() -> None:
    nodes = [node for node in exported(Outer(), torch.randn(1, 4)).graph.nodes if node.op == "call_function"]
    assert [operation_of(node) for node in nodes] == ["linear", "dropout", "linear", "dropout", "relu_"]
    assert [module_of(node) for node in nodes] == ["inner.0", "inner.1", "inner.0", "inner.1", ""]
    first, second = stack_of(nodes[0]), stack_of(nodes[2])
    assert [path for _, path in first] == [path for _, path in second] == ["", "inner", "inner.0"]
    assert first[1][0] != second[1][0], "another call of the same module"


def test_a_function_that_is_no_operation_of_atens_has_its_own_name() -> None:
    graph = fx.Graph()
    assert operation_of(graph.call_function(copy_of)) == "copy_of"
    assert operation_of(graph.call_function(torch.ops.aten.add.Tensor)) == "add"


def test_shared_tensors_have_the_first_name() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "n": nn.BatchNorm1d(3)})
    model["b"].weight = model["a"].weight
    found = aliases_of(model)
    assert found["b.weight"] == found["a.weight"] == "a.weight"
    assert found["b.bias"] == "b.bias"
    assert found["n.running_mean"] == "n.running_mean"


@given(st.integers(2, 12), st.randoms(use_true_random=False))
def test_related_nodes_are_those_with_a_path_between_them(count: int, random: random.Random) -> None:
    graph, reference, ancestry = fx.Graph(), networkx.DiGraph(), Ancestry()
    nodes: list[fx.Node] = []
    for number in range(count):
        sources = random.sample(range(number), min(number, random.randint(0, 2)))
        nodes.append(graph.call_function(torch.add, tuple(nodes[source] for source in sources)))
        reference.add_node(number)
        reference.add_edges_from((source, number) for source in sources)
        ancestry.add(nodes[-1])
    for one in range(count):
        for two in range(count):
            path = networkx.has_path(reference, one, two) or networkx.has_path(reference, two, one)
            assert ancestry.related(nodes[one], nodes[two]) == path


def test_an_example_of_another_size_is_another_program() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    assert exported(model, torch.randn(1, 12)).graph is not None
    with pytest.raises(RuntimeError):
        exported(model, torch.randn(1, 13))
