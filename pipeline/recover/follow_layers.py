"""Front to back for convolutions: layers refitted on what the pruned model feeds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from secateur.core.modules import frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.recover.batch_norm import reestimate
from secateur.pipeline.recover.layers import Less
from secateur.pipeline.recover.report import Repair
from secateur.pipeline.recover.stream_fit import RIDGES, choose
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.statistics.layer_matrices import input_rows, matrix, output_rows
from secateur.pipeline.statistics.moments import fold_moments
from secateur.pipeline.structure.groups import Site

FOLDS = 2
PASSES = 4
"""The layers are refitted in so many turns, front to back: those of one turn see the same pass over the images."""


def follow_layers(
    small: nn.Module, dense: nn.Module, layers: Mapping[str, Less], loader: Batches
) -> tuple[Repair, ...]:
    """Refits the convolutions among `layers` in place, in the order in which they run; says what was done.

    The inputs are those of the pruned model, so that a layer also makes up for what the layers before it have lost;
    the target is what the dense model's layer says. The ridge pulls towards the weights that are there and is chosen
    by images held out (`stream_fit.choose`). Batch normalisations are estimated anew before each of the `PASSES`.
    Grouped convolutions are left alone.
    """
    wanted = {
        name: less
        for name, less in layers.items()
        if less.parts == 1 and isinstance(small.get_submodule(name), nn.Conv2d)
    }
    if not wanted:
        return ()
    order = _order(dense, wanted, loader)
    size = -(-len(order) // PASSES)
    repairs: list[Repair] = []
    with frozen(dense), frozen(small), torch.no_grad():
        for first in range(0, len(order), size):
            reestimate(small, loader)
            repairs += _refit(small, dense, {name: wanted[name] for name in order[first : first + size]}, loader)
    return tuple(repairs)


def _order(model: nn.Module, names: Iterable[str], loader: Batches) -> list[str]:
    """The layers in the order in which they run."""
    found: dict[str, None] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(lambda _m, _i, _o, name=name: found.setdefault(name))
        for name in names
    ]
    with frozen(model), torch.no_grad():
        images, _ = next(iter(loader))
        model(images[:1].to(next(model.parameters()).device))
    for handle in handles:
        handle.remove()
    return list(found)


def _refit(small: nn.Module, dense: nn.Module, layers: Mapping[str, Less], loader: Batches) -> Sequence[Repair]:
    """Refits some layers from one pass over the images."""
    device = next(dense.parameters()).device

    def batches() -> Iterator[tuple[int, dict[str, Tensor]]]:
        for images, _ in loader:
            dense(images.to(device))
            small(images.to(device))
            rows = {}
            for name, less in layers.items():
                z = input_rows(small.get_submodule(name), values[name, "input"])
                t = output_rows(dense.get_submodule(name), goals[name, "output"])
                rows[name] = torch.cat([z, t[..., less.rows.to(device)]], dim=-1)
            yield len(images), rows

    outputs, inputs = ([Site(name, side, -1, ()) for name in layers] for side in ("output", "input"))
    with observed(dense, outputs) as goals, observed(small, inputs) as values:
        moments = fold_moments(batches(), FOLDS)
    repairs = []
    for name, folds in moments.items():
        layer = small.get_submodule(name)
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor)  # for the type checker: linear layers and convolutions have one
        offset = bias.double() if isinstance(bias, Tensor) else None
        if offset is None:  # a batch normalisation behind it, estimated anew, takes the constant part
            offset = weight.new_zeros(len(weight), dtype=torch.float64)
        chosen = choose(matrix(layer), offset, folds, RIDGES)
        if chosen.ridge is not None:
            weight.copy_(chosen.weight.reshape(weight.shape))
            if isinstance(bias, Tensor) and chosen.bias is not None:
                bias.copy_(chosen.bias)
        way = "inputs" if chosen.ridge is not None else "none"
        repairs.append(Repair(name, way, chosen.ridge, chosen.error_before, chosen.error_after))
    return repairs
