"""The body of a module in a graph: its operations, and its children where they can be called."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.codegen.body import Body, ChildCall, has_tensors
from secateur.pipeline.structure.codegen.calls import record_calls
from secateur.pipeline.structure.graph.program import exported, operation_of

EXAMPLE = torch.randn(2, 4)


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Pair(nn.Module):
    """Two tensors in, one out; a child of one tensor and one of two."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.sum = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), Sum()
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.sum(self.one(x), y) * torch.arange(4) + self.shift
        return out.view(x.shape[0], 2, 2)


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.pair, self.last = nn.Linear(4, 4), Pair(), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.last(self.pair(x, x.relu()))
        return out


@pytest.fixture(scope="module")
def body() -> Body:
    """The body of the pair within the whole."""
    model = Whole().eval()
    nodes = list(exported(model, EXAMPLE).graph.nodes)
    calls = record_calls(model, EXAMPLE)
    inner = {path.removeprefix("pair."): seen for path, seen in calls.items() if path.startswith("pair.")}
    parameters = [node for node in nodes if node.op == "placeholder" and node.name != "x"]
    within = [node for node in nodes if "pair" in str(node.meta.get("nn_module_stack", ""))]
    return Body(within, 2, parameters, (), inner)


def shown(body: Body) -> list[str]:
    return [f"call {step.path}" if isinstance(step, ChildCall) else operation_of(step) for step in body.steps]


def test_children_of_one_tensor_are_called_and_others_are_written_out(body: Body) -> None:
    assert shown(body) == ["call one", "add", "arange", "mul", "add", "view"]
    call = body.steps[0]
    assert isinstance(call, ChildCall)
    assert [operation_of(node) for node in call.nodes] == ["linear", "relu"]
    assert operation_of(call.source) == "linear" and operation_of(call.result) == "relu"


def test_what_enters_are_tensors_of_inputs_and_what_leaves_is_read(body: Body) -> None:
    assert [operation_of(node) for node in body.entering(body.nodes)] == ["linear", "relu"]
    assert [operation_of(node) for node in body.leaving(body.nodes)] == ["view"]
    last = [node for node in body.nodes if operation_of(node) == "add"][-1]
    assert [operation_of(node) for node in body.entering([last])] == ["mul"], "parameters do not count"
    times = next(node for node in body.nodes if operation_of(node) == "mul")
    assert [operation_of(node) for node in body.entering([times])] == ["add"], "nor do numbers"


def test_lengths_are_no_steps(body: Body) -> None:
    nodes = [node for node in body.nodes[0].graph.nodes if node.op == "call_function"]
    assert not all(has_tensors(node) for node in nodes)
    every = Body(nodes, 0, (), (), {})
    assert every.steps == [node for node in nodes if has_tensors(node)]
