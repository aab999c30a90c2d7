"""The floating-point types of a model's tensors, so that a model made again computes in the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from secateur.core.errors import ModelError


@dataclass(frozen=True)
class Precision:
    """The type of most floating-point tensors of a model ("float16"), and by name the `others`."""

    most: str = "float32"
    others: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(model: nn.Module) -> Precision:
        """The precision of a model's parameters and buffers, those included that are not saved."""
        return Precision.among(_floating(model))

    @staticmethod
    def among(tensors: Mapping[str, Tensor]) -> Precision:
        """The precision of tensors by name; those of whole numbers do not count."""
        kinds = {name: _word(tensor.dtype) for name, tensor in tensors.items() if tensor.is_floating_point()}
        if not kinds:
            return Precision()
        most = Counter(kinds.values()).most_common(1)[0][0]
        return Precision(most, {name: kind for name, kind in sorted(kinds.items()) if kind != most})

    def give(self, model: nn.Module) -> None:
        """Brings the model's floating-point parameters and buffers to this precision, in place."""
        for name, tensor in _floating(model).items():
            wanted = _dtype(self.others.get(name, self.most))
            if isinstance(tensor, nn.Parameter):
                tensor.data = tensor.data.to(wanted)
            elif tensor.dtype != wanted:
                path, _, leaf = name.rpartition(".")
                setattr(model.get_submodule(path), leaf, tensor.to(wanted))

    def to_json(self) -> dict[str, object]:
        """The precision as plain JSON values."""
        return {"most": self.most, "others": dict(self.others)}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Precision:
        """What `to_json` wrote; raises `ModelError` for a type that there is not."""
        for word in (content["most"], *content["others"].values()):
            _dtype(word)
        return Precision(content["most"], dict(content["others"]))


def _floating(model: nn.Module) -> dict[str, Tensor]:
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: tensor for name, tensor in named if tensor.is_floating_point()}


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(word: str) -> torch.dtype:
    found = getattr(torch, word, None) if isinstance(word, str) else None
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ModelError(f"{word!r} is no floating-point type of PyTorch: was the file written by another version?")
    return found
