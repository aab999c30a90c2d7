"""What a model returns, in a flat, named order."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from secateur.core.errors import ExportError


def flat_outputs(value: object, name: str = "") -> dict[str, Tensor]:
    """The tensors of a model's return value by name, in a fixed order.

    A single tensor is `logits`; the members of a tuple or list are `output_0`, `output_1`, ..., those of a mapping
    are named by their keys; nested names are joined by `_`. Raises `ExportError` for values that are no tensors.
    """
    if isinstance(value, Tensor):
        return {name or "logits": value}
    if isinstance(value, Mapping):
        parts = {f"{name}_{key}" if name else str(key): member for key, member in value.items()}
    elif isinstance(value, tuple | list) and value:
        parts = {f"{name or 'output'}_{index}": member for index, member in enumerate(value)}
    else:
        raise ExportError(
            f"the model returns {type(value).__name__} for {name or 'its output'}, but only tensors, and tuples, lists "
            "and mappings of tensors can be exported: wrap the model in a module that returns tensors"
        )
    return {key: tensor for part, member in parts.items() for key, tensor in flat_outputs(member, part).items()}
