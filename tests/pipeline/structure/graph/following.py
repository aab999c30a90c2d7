"""Small functions of parameters, traced and followed: what the tests of the rules start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.pipeline.structure.graph.trace import OUTPUT, Trace
from secateur.pipeline.structure.graph.tracer import trace_model
from secateur.pipeline.structure.graph.value import Value


@dataclass(frozen=True)
class Followed:
    """A trace that has ended, with what the traced module returned."""

    trace: Trace
    results: tuple[Value, ...]

    def at(self, tensor: str, dim: int) -> list[int]:
        """The components along one dimension of a parameter."""
        labels = self.trace.tensors[tensor][dim]
        assert labels is not None, "the dimension has length 1"
        return [int(self.trace.coupling.components()[label]) for label in labels.tolist()]

    def along(self, result: int, dim: int) -> list[int]:
        """The components along one dimension of a result, by its only map there."""
        (labels,) = self.results[result].on(dim)
        return [int(self.trace.coupling.components()[label]) for label in labels.flatten().tolist()]

    def reason(self, tensor: str, dim: int) -> str:
        """Why the first position of a parameter's dimension stays; empty where it may go."""
        reasons = self.trace.coupling.reasons(self.trace.coupling.components())
        found = reasons.get(self.at(tensor, dim)[0], "")
        return "" if found == OUTPUT else found  # the reason of last resort: it is free within the model

    def marks(self, mark: Any) -> set[int]:
        """The components with a mark."""
        return self.trace.coupling.marked(mark, self.trace.coupling.components())


def follow(model: nn.Module, example: Tensor) -> Followed:
    """What the tracer knows of a module after its forward with `example`."""
    trace = trace_model(model.eval(), example)
    output = next(reversed(trace.values)).graph.output_node().args[0]
    assert isinstance(output, tuple)
    return Followed(trace, tuple(trace.values[node] for node in output))


class Function(nn.Module):
    """A function of parameters `p0`, `p1`, ... of the given shapes and of the input."""

    def __init__(self, function: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        for index, shape in enumerate(shapes):
            self.register_parameter(f"p{index}", nn.Parameter(torch.randn(shape)))

    def forward(self, x: Tensor) -> Any:
        return self.function(*self.parameters(), x)


def of(function: Callable[..., Any], *shapes: tuple[int, ...], example: Tensor | None = None) -> Followed:
    """What is traced through a function of parameters of these shapes, and of an input that it may leave out."""
    return follow(Function(function, *shapes), torch.zeros(1, 2) if example is None else example)


def labels_of(value: Value) -> Tensor:
    """For each element the labels of all maps in ascending order, `[*shape, maps]`."""
    found = torch.stack([labels.expand(value.shape) for labels in value.maps], dim=-1)
    return found.sort(dim=-1).values
