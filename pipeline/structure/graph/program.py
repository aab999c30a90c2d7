"""The model's graph of ATen operations, and what its nodes say of themselves: their modules, lengths and sources."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from secateur.core.errors import ModelError
from secateur.core.input_spec import InputSpec
from secateur.core.model_inputs import ModelInputs, arguments, chosen, joined, tensors_in
from secateur.core.modules import evaluating

SAMPLES = 2
"""The batch of the traced example; with 1, lengths that come from the batch would look like constants."""


def exported(model: nn.Module, example: ModelInputs, training: bool = False) -> ExportedProgram:
    """The model's graph of ATen operations, for any batch and the sample size of `example`; it returns a flat list.

    In evaluation mode, or all of it in `training` mode; the model is left as it was. Raises `ModelError` where the
    model returns no tensor.
    """
    args, kwargs = arguments(joined([chosen(example, slice(0, 1))] * SAMPLES))
    shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for tensor, spec in zip(tensors_in([args, kwargs]), InputSpec.of(example).tensors, strict=True):
        if spec.batched:
            shapes[tensor] = {0: torch.export.Dim.AUTO}
    flat = model.register_forward_hook(_flat)
    try:
        with evaluating(model), torch.no_grad(), warnings.catch_warnings():
            model.train(training)
            # attributes that forward assigns for others to look at are no part of the model
            warnings.filterwarnings("ignore", "The tensor attribute", UserWarning)
            return torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
    finally:
        flat.remove()


def _flat(model: nn.Module, _inputs: Any, outputs: Any) -> list[Tensor]:
    """The tensors of a model's outputs alone, since a tracer does not know all that may hold them."""
    found = tensors_in(outputs)
    if not found:
        raise ModelError(
            f"the {type(model).__name__} returns a {type(outputs).__name__} that holds no tensor: give a model that "
            "returns tensors, or tuples, dictionaries or dataclasses of them"
        )
    return found


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
