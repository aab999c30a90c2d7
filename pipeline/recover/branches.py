"""The two branches of a transformer block of timm, each in the parts before and behind the layer that ends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from timm.layers import LayerScale
from timm.models.vision_transformer import Block
from torch import Tensor, nn


@dataclass(frozen=True)
class Branch:
    """A branch of a `Block`: the module between its normalisation and its scale, and the last layer in it."""

    module: str
    last: str
    number: int

    @property
    def layer(self) -> str:
        """The last layer's name in the block."""
        return f"{self.module}.{self.last}"

    def output(self, block: Block, x: Tensor) -> Tensor:
        """What the branch adds to the residual stream x."""
        return self._scaled(block, self._of(block, x))

    def read_by_layer(self, block: Block, x: Tensor) -> Tensor:
        """What the last layer reads, of the residual stream x before the branch; the layer itself is not run."""
        with _without(block.get_submodule(self.module), self.last):
            return self._of(block, x)

    def output_from(self, block: Block, read: Tensor) -> Tensor:
        """What the branch adds to the residual stream, from what its last layer reads."""
        return self._scaled(block, block.get_submodule(self.layer)(read))

    def scale(self, block: Block) -> Tensor:
        """What multiplies the last layer's output, `[width]` or `[1]`."""
        scale = block.get_submodule(f"ls{self.number}")
        device = next(block.parameters()).device
        return scale.gamma.detach() if isinstance(scale, LayerScale) else torch.ones(1, device=device)

    def _of(self, block: Block, x: Tensor) -> Tensor:
        found: Tensor = block.get_submodule(self.module)(block.get_submodule(f"norm{self.number}")(x))
        return found

    def _scaled(self, block: Block, y: Tensor) -> Tensor:
        found: Tensor = block.get_submodule(f"drop_path{self.number}")(block.get_submodule(f"ls{self.number}")(y))
        return found


ATTENTION, MLP = Branch("attn", "proj", 1), Branch("mlp", "fc2", 2)
BRANCHES = (ATTENTION, MLP)


def run_in_parts(block: Block, x: Tensor) -> Tensor:
    """What the block makes of the residual stream, by the parts of its branches that end with a linear layer."""
    for branch in BRANCHES:
        if ends_with_layer(block, branch):
            x = x + branch.output_from(block, branch.read_by_layer(block, x))
        else:
            x = x + branch.output(block, x)
    return x


def ends_with_layer(block: Block, branch: Branch) -> bool:
    """Whether the branch's last layer is there and linear; a branch that lost everything is a constant."""
    return isinstance(getattr(block.get_submodule(branch.module), branch.last, None), nn.Linear)


@contextmanager
def _without(module: nn.Module, name: str) -> Iterator[None]:
    """The module with nothing in the place of one layer."""
    layer = module.get_submodule(name)
    setattr(module, name, nn.Identity())
    try:
        yield
    finally:
        setattr(module, name, layer)
