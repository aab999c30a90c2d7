"""The layers that read a group's units, seen as matrices over rows of their inputs: linear layers and convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.structure.groups import Group

MOST_POSITIONS = 256
"""At most so many tokens or pixels of one sample are used, evenly spread; neighbours say almost the same."""


@dataclass(frozen=True)
class Reader:
    """A layer whose input holds units: `columns[c]` is the unit of column `c` of its matrix, or -1."""

    module: str
    columns: tuple[int, ...]


def readers_of(model: nn.Module, group: Group) -> tuple[Reader, ...]:
    """The linear layers and ungrouped convolutions that read the units of `group`, in the model's order."""
    found = []
    for site in group.sites:
        layer = model.get_submodule(site.module)
        if site.side == "input" and is_matrix(layer):
            assert isinstance(layer, nn.Linear | nn.Conv2d)  # for the type checker
            repeat = layer.weight[0, 0].numel()
            found.append(Reader(site.module, tuple(unit for unit in site.units for _ in range(repeat))))
    return tuple(found)


def is_matrix(layer: nn.Module) -> bool:
    """Whether the layer multiplies rows of its input by one matrix."""
    return matrices_in(layer) == 1


def matrices_in(layer: nn.Module) -> int:
    """How many matrices the layer is, each with inputs and outputs of its own: one for each group of a convolution.

    None (0) for layers of other kinds.
    """
    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
        return layer.groups
    return int(isinstance(layer, nn.Linear))


def matrix(layer: nn.Module) -> Tensor:
    """The layer's weight as a matrix `[out, columns]` in float64; a convolution's kernel is flattened.

    The matrices of a grouped convolution lie one below the other.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)  # for the type checker
    return weight.detach().double().flatten(1)


def channel_dim(layer: nn.Module) -> int:
    """The dimension of the layer's input that holds its channels."""
    return 1 if isinstance(layer, nn.Conv2d) else -1


def input_rows(layer: nn.Module, x: Tensor) -> Tensor:
    """The rows `[B, positions, columns]` that the layer's matrix multiplies, with the zeros of a convolution's border.

    Those of a grouped convolution's matrices lie side by side. At most `MOST_POSITIONS` of a sample are taken, evenly
    spread; the same ones whatever the batch.
    """
    if isinstance(layer, nn.Conv2d):
        padding = _padding(layer)
        x = F.pad(x, padding)
        unfolded = F.unfold(x, layer.kernel_size, layer.dilation, 0, layer.stride)
        x = unfolded.transpose(1, 2)
    else:
        x = x.reshape(x.shape[0], -1, x.shape[-1])
    return x[:, spread(x.shape[1], x.device)]


def output_rows(layer: nn.Module, y: Tensor) -> Tensor:
    """The rows `[B, positions, out]` of the layer's output (or its gradient) that belong to `input_rows`."""
    y = y.flatten(2).transpose(1, 2) if isinstance(layer, nn.Conv2d) else y.reshape(y.shape[0], -1, y.shape[-1])
    return y[:, spread(y.shape[1], y.device)]


def spread(positions: int, device: torch.device) -> Tensor:
    """The positions that are used, `[at most MOST_POSITIONS]`; the first (a class token) is always among them."""
    if positions <= MOST_POSITIONS:
        return torch.arange(positions, device=device)
    return torch.linspace(0, positions - 1, MOST_POSITIONS, device=device).long()


def _padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    """The zeros around an image: left, right, top, bottom."""
    if isinstance(layer.padding, str):  # "same" or "valid"
        if layer.padding == "valid":
            return (0, 0, 0, 0)
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        (top, bottom), (left, right) = ((size // 2, size - size // 2) for size in total)
        return (left, right, top, bottom)
    vertical, horizontal = layer.padding
    return (int(horizontal), int(horizontal), int(vertical), int(vertical))
