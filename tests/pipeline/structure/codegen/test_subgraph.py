"""The part of a graph that is one module's: what enters, what leaves, which children can be called."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.codegen.calls import CodeError, record_calls
from secateur.pipeline.structure.codegen.subgraph import Subgraph
from secateur.pipeline.structure.graph.program import operation_of
from secateur.pipeline.structure.graph.tracer import trace_model

EXAMPLE = torch.randn(2, 4)


class Pair(nn.Module):
    """Two tensors in, one out; a child of one tensor and one of two."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.sum = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), Sum()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.sum(self.one(x), y) * 2
        return out


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.pair, self.last = nn.Linear(4, 4), Pair(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.last(self.pair(x, x.relu()))
        return out


@pytest.fixture(scope="module")
def pair() -> Subgraph:
    model = Whole().eval()
    return Subgraph(trace_model(model, EXAMPLE), "pair", record_calls(model, EXAMPLE))


def names(nodes: list[torch.fx.Node]) -> list[str]:
    return [operation_of(node) for node in nodes]


def test_nodes_are_those_of_the_module_and_its_children(pair: Subgraph) -> None:
    assert names(pair.nodes) == ["linear", "relu", "add", "mul"]
    assert names(pair.entering(pair.nodes)) == ["linear", "relu"]
    assert names(pair.leaving(pair.nodes)) == ["mul"]
    assert pair.foreign() == []


def test_its_parameters_are_called_as_within_it(pair: Subgraph) -> None:
    assert pair.own == {"pair.one.0.weight": "one.0.weight", "pair.one.0.bias": "one.0.bias"}


def test_children_of_one_tensor_are_called_and_others_are_written_out(pair: Subgraph) -> None:
    linear, relu, add, mul = pair.nodes
    found = pair.child(linear)
    assert found is not None and found[1] == "pair.one"
    assert pair.child(relu) == found
    assert names(pair.within(found[0])) == ["linear", "relu"]
    assert pair.child(add) is None and pair.child(mul) is None


def test_the_call_is_that_of_the_dense_model(pair: Subgraph) -> None:
    assert [tuple(argument.shape) for argument in pair.call.args] == [(2, 4), (2, 4)]


class Repeated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.never = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.one(self.one(x))
        return out


@pytest.mark.parametrize(("name", "times"), [("one", 2), ("never", 0)])
def test_a_module_must_run_once(name: str, times: int) -> None:
    model = Repeated().eval()
    with pytest.raises(CodeError, match=f"runs {times} times"):
        Subgraph(trace_model(model, EXAMPLE), name, record_calls(model, EXAMPLE))


class Borrowing(nn.Module):
    """A module that is called with a parameter of another one."""

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return x * scale


class Lending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.rand(4)), Borrowing()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x, self.scale)
        return out


def test_parameters_of_other_modules_are_foreign() -> None:
    model = Lending().eval()
    found = Subgraph(trace_model(model, EXAMPLE), "inner", record_calls(model, EXAMPLE))
    assert [found.trace.names[node] for node in found.foreign()] == ["scale"]
    assert found.own == {}
