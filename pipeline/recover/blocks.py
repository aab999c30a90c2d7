"""The blocks of a pruned model and of the dense one, and how far what they give is apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from secateur.core.model_inputs import ModelInputs, call, tensors_in
from secateur.core.modules import frozen
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan

Normalisation = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Block:
    """A module whose output the small model is to give like the dense one.

    `stays` are the features that the small one has left, along dimension `dim` of the output; None for all.
    """

    name: str
    dim: int = -1
    stays: Tensor | None = None

    def left(self, goal: Tensor) -> Tensor:
        """Of the dense block's output, what the small block gives."""
        return goal if self.stays is None else goal.index_select(self.dim, self.stays.to(goal.device))

    def error(self, found: Tensor, goal: Tensor) -> Tensor:
        """The squared error of the small block's output relative to the variance of the dense one's, a scalar."""
        wanted = self.left(goal).float()
        return (found.float() - wanted).square().mean() / wanted.var().clamp_min(1e-12)


class Watched(nn.Module):
    """A model that returns what its blocks give beside its answer, through one call that data parallelism can see."""

    def __init__(self, model: nn.Module, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.model = model
        self.names = [block.name for block in blocks]

    def forward(self, inputs: ModelInputs) -> tuple[list[Tensor], Any]:
        """The blocks' outputs in their order, and the answer."""
        with listening(self.model, self.names) as given:
            answer = call(self.model, inputs)
        return [given[name] for name in self.names], answer


def shared_blocks(small: nn.Module, dense: nn.Module, groups: Groups, plan: Plan, inputs: ModelInputs) -> list[Block]:
    """The blocks whose outputs can be compared, in the order in which the dense model runs them on `inputs`.

    Where a block gives fewer features than the dense one, the layers that read its output say which: without such a
    layer, the block is left out.
    """
    names = [name for name in numbered_blocks(dense) if _has(small, name)]
    readers: dict[int, tuple[Tensor, str, int]] = {}  # who reads a tensor, and along which dimension its features lie

    def read(name: str, layer: nn.Module) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, given: Any) -> None:
            if given and isinstance(given[0], Tensor):
                readers.setdefault(id(given[0]), (given[0], name, _feature_dim(layer)))  # which keeps its id its own

        return hook

    with ExitStack() as hooks, frozen(dense, small), torch.no_grad():
        for name, layer in dense.named_modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d, *Normalisation)):
                hooks.callback(layer.register_forward_pre_hook(read(name, layer)).remove)
        with listening(dense, names) as goals, listening(small, names) as found:
            call(dense, inputs)
            call(small, inputs)
        blocks = []
        for name in goals:
            goal, there = goals[name], found.get(name)
            if there is None or there.ndim != goal.ndim:
                continue
            if there.shape == goal.shape:
                blocks.append(Block(name))
            elif reader := readers.get(id(goal)):
                _, reads, dim = reader
                block = Block(name, dim, _columns_left(dense, reads, groups, plan))
                if block.stays is not None and block.left(goal).shape == there.shape:
                    blocks.append(block)
    return blocks


def numbered_blocks(model: nn.Module) -> list[str]:
    """The outermost numbered modules with weights: `blocks.3`, `layer1.0`, `stages.2.blocks.1`."""
    found: list[str] = []
    for name, module in model.named_modules():
        numbered = name.rpartition(".")[2].isdigit() and not isinstance(module, CONTAINERS)
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if numbered and not inside and next(module.parameters(), None) is not None:
            found.append(name)
    return found


@contextmanager
def listening(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What the modules of these names give meanwhile: of each the first tensor of its last output."""
    given: dict[str, Tensor] = {}

    def hear(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if tensors := tensors_in(output):
                given[name] = tensors[0]

        return hook

    with ExitStack() as hooks:
        for name in names:
            hooks.callback(model.get_submodule(name).register_forward_hook(hear(name)).remove)
        yield given


def _has(model: nn.Module, name: str) -> bool:
    try:
        return isinstance(model.get_submodule(name), nn.Module)
    except AttributeError:  # a branch that went
        return False


def _feature_dim(layer: nn.Module) -> int:
    """Along which dimension of a layer's input its features lie."""
    return 1 if isinstance(layer, (nn.Conv2d, nn.GroupNorm, _NormBase)) else -1


def _columns_left(model: nn.Module, name: str, groups: Groups, plan: Plan) -> Tensor | None:
    """The features of a layer's input that stay, where its groups say so."""
    weight = getattr(model.get_submodule(name), "weight", None)
    if not isinstance(weight, Tensor):
        return None
    reads = 1 if weight.ndim > 1 and weight.shape[1] > 1 else 0  # a depthwise convolution reads what it makes
    axis = groups.axes.get((f"{name}.weight", reads))
    return None if axis is None else torch.from_numpy(axis.positions(plan.kept)).nonzero().flatten()
