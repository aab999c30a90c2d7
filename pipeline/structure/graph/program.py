"""The model's graph of ATen operations, and what its nodes say of themselves: their modules, lengths and sources."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from secateur.core.modules import evaluating

SAMPLES = 2
"""The batch of the traced example; with 1, lengths that come from the batch would look like constants."""


def exported(model: nn.Module, example: Tensor, training: bool = False) -> ExportedProgram:
    """The model's graph of ATen operations, for any batch and the sample size of `example`.

    In evaluation mode, or all of it in `training` mode; the model is left as it was.
    """
    with evaluating(model), torch.no_grad(), warnings.catch_warnings():
        model.train(training)
        batch = torch.cat([example[:1]] * SAMPLES)
        # attributes that forward assigns for others to look at are no part of the model
        warnings.filterwarnings("ignore", "The tensor attribute", UserWarning)
        return torch.export.export(model, (batch,), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False)


def aliases_of(model: nn.Module) -> dict[str, str]:
    """For every name of a parameter or buffer the first name of the same tensor, which is that of its labels."""
    first: dict[int, str] = {}
    every = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(tensor), name) for name, tensor in every}


def lengths(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a traced tensor, the batch having the length of the example."""
    return tuple(size if isinstance(size, int) else int(size.node.hint) for size in tensor.shape)


def operation_of(node: fx.Node) -> str:
    """The name of a node's ATen operation without its overload; that of the function for any other node."""
    target = str(node.target)
    return target.split(".")[1] if target.startswith("aten.") else str(getattr(node.target, "__name__", target))


def stack_of(node: fx.Node) -> list[tuple[str, str]]:
    """The modules whose forward runs a node, outermost first: a key for the call, and the module's path."""
    stack = node.meta.get("nn_module_stack") or {}
    return [(str(key), str(path).split("@")[0]) for key, (path, _) in stack.items()]


def module_of(node: fx.Node) -> str:
    """The path of the innermost module whose forward runs a node; empty for the model itself."""
    stack = stack_of(node)
    return stack[-1][1] if stack else ""


class Ancestry:
    """Which nodes of a graph were computed from which, asked of a whole graph in one pass."""

    def __init__(self) -> None:
        self._numbers: dict[fx.Node, int] = {}
        self._ancestors: dict[fx.Node, int] = {}  # a bit for each node, itself among them

    def identify(self, node: fx.Node, other: fx.Node) -> None:
        """Takes in a node that stands for another one, which it is from now on."""
        self._numbers[node] = self._number(other)
        self._ancestors[node] = self._ancestors.get(other, 0)

    def add(self, node: fx.Node) -> None:
        """Takes in a node after those that it reads."""
        found = 1 << self._number(node)
        for source in node.all_input_nodes:
            found |= self._ancestors.get(source, 0)
        self._ancestors[node] = found

    def related(self, one: fx.Node, two: fx.Node) -> bool:
        """Whether one of two nodes was computed from the other."""
        return bool(self._ancestors[one] >> self._number(two) & 1 or self._ancestors[two] >> self._number(one) & 1)

    def _number(self, node: fx.Node) -> int:
        return self._numbers.setdefault(node, len(self._numbers))
