"""Small functions of parameters, traced and followed: what the tests of the rules start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.pipeline.structure.graph.tracer import Walk, aliases_of, trace
from secateur.pipeline.structure.graph.value import Value
from secateur.pipeline.structure.module_attributes import normalising

OUTPUT = "it is an output of the model"
"""The reason of last resort: what has no other is free within the model."""


@dataclass(frozen=True)
class Followed:
    """A walk that has ended, with what the traced module returned."""

    walk: Walk
    results: tuple[Value, ...]

    def at(self, tensor: str, dim: int) -> list[int]:
        """The components along one dimension of a parameter."""
        atoms = self.walk.tensors[tensor][dim]
        assert atoms is not None, "the dimension has length 1"
        return [int(self.walk.atoms.components()[atom]) for atom in atoms.tolist()]

    def along(self, result: int, dim: int) -> list[int]:
        """The components along one dimension of a result, by its only layer there."""
        (layer,) = self.results[result].on(dim)
        return [int(self.walk.atoms.components()[atom]) for atom in layer.flatten().tolist()]

    def reason(self, tensor: str, dim: int) -> str:
        """Why the first position of a parameter's dimension stays; empty where it may go."""
        reasons = self.walk.atoms.reasons(self.walk.atoms.components())
        found = reasons.get(self.at(tensor, dim)[0], "")
        return "" if found == OUTPUT else found

    def marks(self, mark: Any) -> set[int]:
        """The components with a mark."""
        return self.walk.atoms.marked(mark, self.walk.atoms.components())


def follow(model: nn.Module, example: Tensor) -> Followed:
    """What the walk knows of a module after its forward with `example`."""
    program = trace(model.eval(), example)
    walk = Walk(normalising=frozenset(n for n, module in model.named_modules() if normalising(module) is not None))
    walk.run(program, aliases_of(model))
    output = program.graph.output_node().args[0]
    assert isinstance(output, tuple)
    return Followed(walk, tuple(walk.values[node] for node in output))


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
    """The walk through a function of parameters of these shapes, and of an input that it may leave out."""
    return follow(Function(function, *shapes), torch.zeros(1, 2) if example is None else example)


def atoms_of(value: Value) -> Tensor:
    """For each element the atoms of all layers in ascending order, `[*shape, layers]`."""
    found = torch.stack([layer.expand(value.shape) for layer in value.layers], dim=-1)
    return found.sort(dim=-1).values
