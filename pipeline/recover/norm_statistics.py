"""Statistics of layers behind a normalisation that runs over fewer features than before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from secateur.core.model_inputs import call, moved, samples_of
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.recover.narrowed import Narrowed, part_rows
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.statistics.moments import Moments, fold_moments
from secateur.pipeline.structure.groups import Site


def norm_statistics(
    small: nn.Module, dense: nn.Module, narrowed: Narrowed, loader: Batches, folds: int
) -> dict[str, list[Moments]]:
    """For each renormalised layer, by the keys of its matrices, the moments of rows (x - B z, z) in each fold.

    x `[columns]` is what the dense model's layer reads, z `[kept]` what the small one's would read if the features
    before each normalisation were the dense model's, and B puts z into the places that it has in x. A layer W x is
    then W (x - B z) + (W B) z: what the survivors cannot say themselves, beside the weights that surgery left.
    """
    layers = {name: layer for name, layer in narrowed.layers.items() if layer.renormalised}
    if not layers:
        return {}
    device = device_of(dense)
    inputs = [Site(name, "input", -1, ()) for name in (*layers, *narrowed.norms)]
    read = [Site(name, "input", -1, ()) for name in layers]

    def batches() -> Iterator[tuple[int, dict[str, Tensor]]]:
        for images, _ in loader:
            inputs = moved(images, device)
            call(dense, inputs), call(small, inputs)
            found = {}
            for name, layer in layers.items():
                whole, narrow = dense.get_submodule(name), small.get_submodule(name)
                for part, key in enumerate(layer.keys(name)):
                    x = part_rows(whole, part, layer.parts, wide[name, "input"])
                    z = part_rows(narrow, part, layer.parts, values[name, "input"])
                    rest = x.clone()
                    rest[..., layer.stays.to(device)] -= z
                    found[key] = torch.cat([rest, z], dim=-1)
            yield samples_of(images), found

    with (
        frozen(dense, small),
        torch.no_grad(),
        observed(dense, inputs) as wide,
        _forced(small, narrowed, wide),
        observed(small, read) as values,
    ):
        return fold_moments(batches(), folds)


@contextmanager
def _forced(small: nn.Module, narrowed: Narrowed, wide: dict[tuple[str, str], Tensor]) -> Iterator[None]:
    """The narrowed normalisations of `small` read what stays of the dense model's features."""

    def replace(name: str, stays: Tensor, _module: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
        x = wide[name, "input"]
        dim = next(dim for dim, size in enumerate(inputs[0].shape) if size != x.shape[dim])
        return x.index_select(dim, stays.nonzero().flatten().to(x.device))

    handles = [
        small.get_submodule(name).register_forward_pre_hook(partial(replace, name, stays))
        for name, stays in narrowed.norms.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
