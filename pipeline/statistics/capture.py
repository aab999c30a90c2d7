"""Reading the values of units while a model runs, through hooks at the groups' sites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.core.model_inputs import samples_of
from secateur.pipeline.statistics.functional_layers import FunctionalLayers, Key
from secateur.pipeline.structure.groups import Groups, Site
from secateur.pipeline.structure.samples import FIRST


class _Values(dict[Key, Tensor]):
    """Tensors by module and side; one that no pass has shown is missed in a sentence."""

    def __missing__(self, key: Key) -> Tensor:
        raise PlanError(
            f"the {key[1]} of {key[0]} was not seen while the model ran: leave the groups that it reads or makes out "
            "with kinds or skip, or score by magnitude"
        )


@contextmanager
def observed(model: nn.Module, sites: Iterable[Site]) -> Iterator[dict[tuple[str, str], Tensor]]:
    """A dictionary that each forward pass fills with the tensors at the sites, by `Site.key`.

    The tensors are those of the computation itself, so gradients with respect to them can be asked for. The samples
    come first in them, wherever they lie in the model (`Site.samples`).
    """
    values = _Values()
    handles = []
    sites = list(sites)
    places = {site.key: site.samples for site in sites if site.samples != FIRST}
    counts: list[int] = []

    def counted(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        counts[:] = [samples_of((args, kwargs))]

    if places:
        handles.append(model.register_forward_pre_hook(counted, with_kwargs=True))

    def kept(key: Key, value: Any) -> Any:
        """Notes a value with its samples first; returns what goes on, which is made of what was noted."""
        if key not in places or not isinstance(value, Tensor):
            values[key] = value
            return value
        values[key] = places[key].first(value, counts[0])
        return places[key].back(values[key], value, counts[0])

    def watch(module: nn.Module, key: tuple[str, str]) -> None:
        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            first = args[0] if args else next(iter(kwargs.values()))
            asked = _asked(first)
            noted = kept(key, first)
            if not asked:
                return None if noted is first else with_first(args, kwargs, noted)
            # a leaf of the graph must not be written over by an activation in place
            return with_first(args, kwargs, noted.clone())

        def after(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
            _asked(output)
            noted = kept(key, output)
            # an activation in place would write over what was seen
            return noted.clone() if isinstance(noted, Tensor) else noted

        if key[1] == "input":
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        else:
            handles.append(module.register_forward_hook(after))

    def seen(key: Key, tensor: Tensor) -> Tensor:
        asked = _asked(tensor)
        noted: Tensor = kept(key, tensor)
        return noted.clone() if asked or key[1] == "output" else noted

    functional = FunctionalLayers(model, sites, seen)
    for key in sorted({site.key for site in sites if not site.weight}):
        watch(model.get_submodule(key[0]), key)
    try:
        with functional if functional else nullcontext():
            yield values
    finally:
        for handle in handles:
            handle.remove()


def with_first(args: tuple[Any, ...], kwargs: dict[str, Any], first: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with another first one, which may be a keyword argument."""
    if args:
        return (first, *args[1:]), kwargs
    return args, {**kwargs, next(iter(kwargs)): first}


def _asked(value: Any) -> bool:
    """Makes a tensor that no gradient reaches ask for one: behind frozen embeddings of words nothing does."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    if value.requires_grad or not torch.is_grad_enabled():
        return False
    value.requires_grad_()
    return True


def gradients_of(total: Tensor, values: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
    """The gradient of a number with respect to each tensor that was seen, zero where the number does not use it.

    Raises `PlanError` where gradients were off, in a part of the model or in all of it: what it uses there is unknown.
    """
    keys = sorted(values)
    if off := [key for key in keys if not values[key].requires_grad]:
        where, is_are = f"{off[0][0]}{f' and {len(off) - 1} more' if len(off) > 1 else ''}", "are" if off[1:] else "is"
        raise PlanError(
            f"{where} {is_are} computed without gradients (under torch.no_grad, say), which this score needs: leave "
            "the groups that it reads or makes out with kinds or skip, or score by magnitude or activation"
        )
    if not total.requires_grad:
        raise PlanError(
            "the model's outputs have no gradient, which this score needs: let its forward neither detach them nor "
            "make them under torch.no_grad, or score by magnitude or activation"
        )
    found = torch.autograd.grad(total, [values[key] for key in keys], allow_unused=True)
    return {
        key: torch.zeros_like(values[key]) if slope is None else slope for key, slope in zip(keys, found, strict=True)
    }


def all_sites(groups: Groups) -> list[Site]:
    """The sites of all groups."""
    return [site for group in groups for site in group.sites]


def along(tensor: Tensor, dim: int, samples: int) -> Tensor:
    """The tensor as `[samples, positions, rest]`, `positions` being its dimension `dim`.

    Window attention puts a sample's windows one after another into the batch: they are part of the rest. Raises
    `PlanError` when the first dimension holds no whole number of windows for each sample.
    """
    if tensor.shape[0] % samples:
        raise PlanError(
            f"a layer sees {tensor.shape[0]} windows of {samples} images: scores need the same number for each image; "
            "leave its groups out"
        )
    windows = tensor.reshape(samples, -1, *tensor.shape[1:]).movedim(dim if dim < 0 else dim + 1, 1)
    return windows.reshape(samples, tensor.shape[dim], -1)


def sum_by_unit(values: Tensor, site: Site, units: int) -> Tensor:
    """Sums `[..., positions]` over the positions of each unit: `[..., units]`; positions of no unit are left out."""
    index = torch.as_tensor(site.units, device=values.device)
    inside = index >= 0
    out = values.new_zeros(*values.shape[:-1], units)
    return out.index_add(-1, index[inside], values[..., inside])
