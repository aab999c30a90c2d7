"""Front to back: layers of a pruned model refitted, in the order in which they run, on what that model feeds them.

So a layer also makes up for what the layers before it have lost. The ridge pulls towards the weights that are there,
so that few images change little, and is chosen by images held out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from secateur.core.model_inputs import call, chosen, moved, samples_of
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.recover.batch_norm import reestimate
from secateur.pipeline.recover.branches import ATTENTION, BRANCHES, Branch, ends_with_layer
from secateur.pipeline.recover.narrowed import Narrowed, NarrowedLayer
from secateur.pipeline.recover.position_weights import of_length, position_weights
from secateur.pipeline.recover.residual_streams import ResidualStreams, chain_of
from secateur.pipeline.recover.ridge import Fit, Pairs, Repair, choose
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.statistics.layer_matrices import input_rows, matrix, output_rows
from secateur.pipeline.statistics.moments import Moments, Probe, fold_moments, in_turn
from secateur.pipeline.structure.groups import Site

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""The strengths that are tried, as shares of the inputs' mean variance."""
FOLDS = 2
PASSES = 4
"""Convolutions are refitted in so many turns: those of one turn see the same pass over the images."""


class FirstRefit(Protocol):
    """What the layers of a block get before they are refitted on what the pruned model feeds them."""

    def probes(self, block: str) -> Mapping[str, Probe]:
        """Where the dense model's statistics are read in a block (`blocks.3`)."""

    def refit(self, block: str, moments: Mapping[str, Sequence[Moments]]) -> None:
        """Refits the layers of a block from them."""


def refit_front_to_back(small: nn.Module, dense: nn.Module, narrowed: Narrowed, loader: Batches) -> tuple[Repair, ...]:
    """Refits narrowed layers that are the ends of transformer blocks, or else convolutions; says what was done."""
    return refit_branches(small, dense, narrowed.layers, loader) or refit_convolutions(small, dense, narrowed, loader)


def refit_branches(
    small: nn.Module, dense: nn.Module, layers: Collection[str], loader: Batches, first: FirstRefit | None = None
) -> tuple[Repair, ...]:
    """Refits those of `layers` that end a branch of `dense.blocks`, in place and in order; says what was done.

    The target is the dense model's residual stream behind the branch, less the pruned model's before it; positions
    count by what the answer feels of an error there (`position_weights`). Each model runs once, block by block; the
    streams between them are kept in temporary files. `first` refits the layers of all blocks before. Nothing is done
    to models that are no plain chain of timm's `Block`, or whose residual width was cut.
    """
    blocks, places = chain_of(dense), chain_of(small)
    wanted = [number for number in range(len(blocks)) for b in BRANCHES if f"blocks.{number}.{b.layer}" in layers]
    same = [getattr(block.norm1, "normalized_shape", None) for block in (*blocks[:1], *places[:1])]
    if not wanted or len(blocks) != len(places) or same[0] != same[-1]:
        return ()
    widest = max((layer.in_features for layer in _ends(places, layers)), default=0)
    repairs = []
    with tempfile.TemporaryDirectory() as folder, frozen(dense, small), torch.no_grad():
        streams = ResidualStreams.read(dense, loader, Path(folder), widest)
        if streams is None:
            return ()
        sites = [_behind(number, branch) for number in dict.fromkeys(wanted) for branch in BRANCHES]
        weights = position_weights(dense, sites, loader)
        for number, (block, pruned) in enumerate(zip(blocks, places, strict=True)):
            name = f"blocks.{number}"
            moments = _advance(block, streams, name, first.probes(name) if first else {})
            if first:
                first.refit(name, moments)
            for branch in BRANCHES if number <= max(wanted) else ():
                if f"{name}.{branch.layer}" not in layers:
                    streams.then(partial(_passed, pruned, branch))
                elif ends_with_layer(pruned, branch):
                    counts = weights[_behind(number, branch).key]
                    repairs.append(_refit_branch(name, block, pruned, branch, streams, counts))
                else:  # a branch that lost everything
                    streams.then(partial(_passed, pruned, branch))
                    repairs.append(Repair(f"{name}.{branch.layer}", "none", None, 0.0, 0.0))
            if number >= max(wanted) and not first:
                break
    return tuple(repairs)


def refit_convolutions(small: nn.Module, dense: nn.Module, narrowed: Narrowed, loader: Batches) -> tuple[Repair, ...]:
    """Refits the narrowed convolutions in place, in the order in which they run; says what was done.

    The target is what the dense model's layer says. The statistics of batch normalisations follow (`reestimate`)
    before each of the `PASSES`. Grouped convolutions are left alone.
    """
    wanted = {
        name: layer
        for name, layer in narrowed.layers.items()
        if layer.parts == 1 and isinstance(small.get_submodule(name), nn.Conv2d)
    }
    if not wanted:
        return ()
    order = _order(dense, wanted, loader)
    size = -(-len(order) // PASSES)
    repairs: list[Repair] = []
    with frozen(dense, small), torch.no_grad():
        for first in range(0, len(order), size):
            reestimate(small, dense, narrowed.statistics, loader)
            turn = {name: wanted[name] for name in order[first : first + size]}
            repairs += _refit_turn(small, dense, turn, loader)
    return tuple(repairs)


def _ends(blocks: Sequence[Block], layers: Collection[str]) -> Iterator[nn.Linear]:
    """Those of `layers` that are there, in the blocks of the pruned model."""
    for number, block in enumerate(blocks):
        for branch in BRANCHES:
            if f"blocks.{number}.{branch.layer}" in layers and ends_with_layer(block, branch):
                layer = block.get_submodule(branch.layer)
                assert isinstance(layer, nn.Linear)  # for the type checker
                yield layer


def _advance(
    block: Block, streams: ResidualStreams, name: str, probes: Mapping[str, Probe]
) -> dict[str, list[Moments]]:
    """Takes the dense model's stream through one block; the moments of what the probes see in it, in each fold."""
    inside = {key: replace(probe, module=probe.module.removeprefix(f"{name}.")) for key, probe in probes.items()}
    middle = Site("norm2", "input", -1, ())
    sites = [middle, *(Site(probe.module, probe.side, -1, ()) for probe in inside.values())]

    def batches() -> Iterator[tuple[int, dict[str, Tensor]]]:
        for place, x in streams.dense():
            streams.keep("dense", place, block(x))
            streams.keep("middle", place, values[middle.key])
            yield len(x), {key: probe.rows(values[probe.module, probe.side]) for key, probe in inside.items()}

    with observed(block, sites) as values:
        return fold_moments(batches(), FOLDS)


def _behind(number: int, branch: Branch) -> Site:
    """Where a block's residual stream is behind one of its branches."""
    name = f"blocks.{number}"
    return Site(f"{name}.norm2", "input", -1, ()) if branch is ATTENTION else Site(name, "output", -1, ())


def _passed(block: Block, branch: Branch, z: Tensor, _held: object) -> Tensor:
    """The stream behind a branch."""
    return z + branch.output(block, z)


def _ended(block: Block, branch: Branch, z: Tensor, held: Callable[[], Tensor]) -> Tensor:
    """The stream behind a branch, from what its last layer reads."""
    return z + branch.output_from(block, held())


def _refit_branch(
    block: str, dense: Block, pruned: Block, branch: Branch, streams: ResidualStreams, weights: Tensor
) -> Repair:
    """Refits the layer that ends one branch of one block."""
    layer, scale = pruned.get_submodule(branch.layer), branch.scale(dense)
    assert isinstance(layer, nn.Linear)  # for the type checker
    inverse = torch.where(scale == 0, 0, 1 / scale)
    goal = "middle" if branch is ATTENTION else "dense"
    width = layer.in_features + layer.out_features
    folds = [Moments.empty(width, layer.weight.device) for _ in range(FOLDS)]
    samples = 0
    for place, z in streams.pruned():
        read = branch.read_by_layer(pruned, z)
        streams.keep("held", place, read)
        rows = torch.cat([read, (streams.of(goal, place) - z) * inverse], dim=2)
        for moments, part in zip(folds, in_turn(rows, samples, FOLDS), strict=True):
            moments.add(part, of_length(weights, part))
        samples += len(rows)
    streams.then(partial(_ended, pruned, branch))
    there = Fit(layer.weight.double(), None if layer.bias is None else layer.bias.double())
    return _refit(f"{block}.{branch.layer}", layer, there, folds, "stream")


def _refit_turn(
    small: nn.Module, dense: nn.Module, layers: Mapping[str, NarrowedLayer], loader: Batches
) -> Sequence[Repair]:
    """Refits some convolutions from one pass over the images."""
    device = device_of(dense)

    def batches() -> Iterator[tuple[int, dict[str, Tensor]]]:
        for images, _ in loader:
            inputs = moved(images, device)
            call(dense, inputs), call(small, inputs)
            rows = {}
            for name, narrowed in layers.items():
                z = input_rows(small.get_submodule(name), values[name, "input"])
                t = output_rows(dense.get_submodule(name), goals[name, "output"])
                rows[name] = torch.cat([z, t[..., narrowed.rows.to(device)]], dim=-1)
            yield samples_of(images), rows

    outputs, inputs = ([Site(name, side, -1, ()) for name in layers] for side in ("output", "input"))
    with observed(dense, outputs) as goals, observed(small, inputs) as values:
        moments = fold_moments(batches(), FOLDS)
    repairs = []
    for name, folds in moments.items():
        layer = small.get_submodule(name)
        weight = matrix(layer)
        # without a bias, the statistics of a batch normalisation behind the layer take the constant part
        bias = layer.bias.double() if isinstance(layer.bias, Tensor) else weight.new_zeros(len(weight))
        repairs.append(_refit(name, layer, Fit(weight, bias), folds, "inputs"))
    return repairs


def _refit(name: str, layer: nn.Module, there: Fit, folds: Sequence[Moments], way: str) -> Repair:
    """Gives a layer the weights that do best on rows (inputs, targets) held out; `there` are those that it has."""
    tasks = [(there, [Pairs.of_rows(moments, there.weight.shape[1]) for moments in folds])]
    choice = choose(tasks, {way: tasks}, RIDGES)
    if choice.ridge is not None:
        weight, (fit,) = layer.get_parameter("weight"), choice.fits
        weight.copy_(fit.weight.reshape(weight.shape))
        if isinstance(layer.bias, Tensor) and fit.bias is not None:
            layer.bias.copy_(fit.bias)
    return choice.repair(name)


def _order(model: nn.Module, names: Iterable[str], loader: Batches) -> list[str]:
    """The layers in the order in which they run."""
    found: dict[str, None] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(lambda _m, _i, _o, name=name: found.setdefault(name))
        for name in names
    ]
    with frozen(model), torch.no_grad():
        images, _ = next(iter(loader))
        call(model, moved(chosen(images, slice(0, 1)), device_of(model)))
    for handle in handles:
        handle.remove()
    return list(found)
