"""What goes into a PyTorch model and what comes out of it, by the names that a graph gives them."""

from __future__ import annotations

import inspect

from torch import Tensor, nn

from secateur.core.errors import ExportError
from secateur.core.model_inputs import ModelInputs, arguments, members

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def flat_outputs(value: object, name: str = "") -> dict[str, Tensor]:
    """The tensors of a model's return value by name, in a fixed order.

    A single tensor is `logits`; the members of a tuple or list are `output_0`, `output_1`, ..., those of a mapping, a
    named tuple or a dataclass are named by their keys; nested names are joined by `_`, and None is left out. Raises
    `ExportError` for values that are no tensors.
    """
    if isinstance(value, Tensor):
        return {name or "logits": value}
    named = {_joined(name, "output", k): member for k, member in (members(value) or {}).items() if member is not None}
    if not named:
        raise ExportError(
            f"the model returns {type(value).__name__} for {name or 'its output'}, but only tensors, and tuples, "
            "lists, mappings and dataclasses of them can be exported: wrap the model in a module that returns tensors"
        )
    return {key: tensor for part, member in named.items() for key, tensor in flat_outputs(member, part).items()}


def flat_inputs(model: nn.Module, inputs: ModelInputs) -> dict[str, Tensor]:
    """The tensors that a model takes by name, in the order in which they lie in `inputs`.

    A single tensor is `input`; what goes in by position has the names of the parameters of `forward`, what goes in by
    keyword its own; nested names are joined by `_`.
    """
    if isinstance(inputs, Tensor):
        return {"input": inputs}
    args, kwargs = arguments(inputs)
    words = [name for name, place in inspect.signature(model.forward).parameters.items() if place.kind in _BY_POSITION]
    words += [f"input_{index}" for index in range(len(words), len(args))]
    return _named({**dict(zip(words, args, strict=False)), **kwargs}, "")


def _named(value: object, name: str) -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {name: value}
    parts = {_joined(name, "input", key): member for key, member in (members(value) or {}).items()}
    return {key: tensor for part, member in parts.items() for key, tensor in _named(member, part).items()}


def _joined(name: str, word: str, key: str) -> str:
    """The name of a member; a place in a tuple without a name follows a word."""
    return f"{name}_{key}" if name else f"{word}_{key}" if key.isdigit() else key
