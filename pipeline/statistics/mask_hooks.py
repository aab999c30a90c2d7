"""Multiplying the values of units while a model runs, through hooks at the groups' sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.statistics.capture import with_first
from secateur.pipeline.statistics.functional_layers import FunctionalLayers
from secateur.pipeline.structure.groups import Groups, Site
from secateur.pipeline.structure.samples import FIRST


@contextmanager
def multiplied(model: nn.Module, groups: Groups, factors: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it, the values of a group's units are multiplied by `factors[group]`, `[units]` or `[samples, units]`.

    The factors are looked up at each forward pass; groups without any are left alone. Gradients reach the factors.
    """
    places: dict[tuple[str, str], list[tuple[str, Site]]] = {}
    for group in groups:
        for site in group.sites:
            places.setdefault(site.key, []).append((group.name, site))

    def changed(values: Tensor, sites: list[tuple[str, Site]]) -> Tensor:
        for name, site in sites:
            if name in factors:
                count = len(factors[name])
                each = site.samples if factors[name].ndim > 1 else FIRST
                found = each.first(values, count)
                values = each.back(found * _at(factors[name], site, found).to(found.dtype), values, count)
        return values

    functional = FunctionalLayers(
        model, (site for group in groups for site in group.sites), lambda key, values: changed(values, places[key])
    )
    handles = []
    for (name, side), sites in places.items():
        if any(site.weight for _, site in sites):
            continue
        module = model.get_submodule(name)
        if side == "input":
            handles.append(module.register_forward_pre_hook(_before(changed, sites), with_kwargs=True))
        else:
            handles.append(module.register_forward_hook(_after(changed, sites)))
    try:
        with functional if functional else nullcontext():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _before(changed: Any, sites: list[tuple[str, Site]]) -> Any:
    """A pre-hook that changes a module's first input."""
    return lambda _module, args, kwargs: with_first(
        args, kwargs, changed(args[0] if args else next(iter(kwargs.values())), sites)
    )


def _after(changed: Any, sites: list[tuple[str, Site]]) -> Any:
    """A hook that changes a module's output."""
    return lambda _module, _inputs, output: changed(output, sites)


def _at(factor: Tensor, site: Site, values: Tensor) -> Tensor:
    """The factors in a shape that multiplies `values`; positions of no unit get 1, windows that of their sample."""
    padded = torch.cat([factor, factor.new_ones(*factor.shape[:-1], 1)], -1)
    chosen = padded[..., torch.as_tensor(site.units, device=factor.device)]  # -1 is the one at the end
    dim = site.dim % values.ndim
    trailing = (1,) * (values.ndim - dim - 1)
    if chosen.ndim == 1:
        return chosen.reshape(-1, *trailing)
    if values.shape[0] % len(chosen):
        raise PlanError(
            f"{site.module} sees {values.shape[0]} windows of {len(chosen)} images: masks need the same number for "
            "each image; leave its groups out"
        )
    windows = chosen.repeat_interleave(values.shape[0] // len(chosen), 0)
    return windows.reshape(len(windows), *(1,) * (dim - 1), -1, *trailing)
