"""What is left of a residual branch that lost all its units: the constant that its last layer adds."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConstantBranch(nn.Module):
    """A branch that returns the bias of its last layer for every token, or zeros where there was none.

    `layer` is the name that the last layer had (`proj`, `fc2`), so that the bias keeps its name in the state dict.
    """

    def __init__(self, layer: str, width: int, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.layer = layer
        self.width = width
        holder = nn.Module()
        holder.register_parameter("bias", bias)
        self.add_module(layer, holder)

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        """The constant, `[..., width]` for `x` `[..., C]`; other arguments (attention masks) do not matter."""
        bias = self.get_submodule(self.layer).bias
        if torch.compiler.is_exporting():  # in a graph, adding broadcasts; in memory, what follows may write in place
            constant = bias if isinstance(bias, Tensor) else x.new_zeros(self.width)
            return constant.expand(*x.shape[:-1], self.width)
        zeros = x.new_zeros((*x.shape[:-1], self.width))
        return zeros + bias if isinstance(bias, Tensor) else zeros
