"""Which layers of a pruned model are to be repaired: those that read fewer features than the dense model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from timm.layers import Attention
from torch import Tensor, nn

from secateur.pipeline.recover.batch_norm import keeps_statistics
from secateur.pipeline.statistics.layer_matrices import input_rows, matrices_in
from secateur.pipeline.statistics.moments import Probe
from secateur.pipeline.structure.groups import Axis, Groups
from secateur.pipeline.structure.plan import Plan


@dataclass(frozen=True)
class NarrowedHeads:
    """The head widths of an attention before and after: masks `[heads, dims]` of what stays, and its packed `qkv`."""

    name: str
    qk: Tensor
    v: Tensor

    @property
    def alive(self) -> list[int]:
        """The heads that are left."""
        return [head for head, stays in enumerate(self.v) if stays.any()]

    def mixes_values(self) -> bool:
        """Whether some head that is left has fewer values than it had."""
        return any(not self.v[head].all() for head in self.alive)

    def mixes_products(self) -> bool:
        """Whether some head that is left has fewer query/key dimensions than it had."""
        return any(not self.qk[head].all() for head in self.alive)


@dataclass(frozen=True)
class NarrowedLayer:
    """A layer that reads less: masks of what stays of its columns `[columns]` and of its outputs `[out]`.

    A grouped convolution is `parts` matrices with the same columns. `renormalised` says that what it reads was
    normalised together with features that are gone, so that those which stay have changed too.
    """

    stays: Tensor
    rows: Tensor
    parts: int = 1
    renormalised: bool = False

    def keys(self, name: str) -> list[str]:
        """The names of its matrices' statistics."""
        return [name] if self.parts == 1 else [f"{name}[{part}]" for part in range(self.parts)]


@dataclass(frozen=True)
class Narrowed:
    """The layers that read less, by name; the attentions whose heads shrank; the normalisations over fewer features.

    `norms` has the mask `[width]` of what stays; so has `statistics`, for all modules of which something is left that
    normalise by stored statistics.
    """

    layers: Mapping[str, NarrowedLayer]
    heads: Mapping[str, NarrowedHeads] = field(default_factory=dict)
    norms: Mapping[str, Tensor] = field(default_factory=dict)
    statistics: Mapping[str, Tensor] = field(default_factory=dict)

    def probes(self, model: nn.Module) -> dict[str, Probe]:
        """Where the dense model's statistics are read: the layers' inputs, and queries and keys."""
        probes = {}
        for name, narrowed in self.layers.items():
            layer = model.get_submodule(name)
            for part, key in enumerate(narrowed.keys(name)):
                if not narrowed.renormalised:
                    probes[key] = Probe(name, "input", partial(part_rows, layer, part, narrowed.parts))
        for name, heads in self.heads.items():
            if heads.mixes_products():
                probes[f"{name}.q"] = Probe(f"{name}.qkv", "output", partial(_part, number=0))
                probes[f"{name}.k"] = Probe(f"{name}.qkv", "output", partial(_part, number=1))
        return probes


def part_rows(layer: nn.Module, part: int, parts: int, x: Tensor) -> Tensor:
    """The rows `[B, positions, columns]` that one of a layer's matrices multiplies."""
    return input_rows(layer, x).chunk(parts, dim=-1)[part]


def narrowed_by(model: nn.Module, groups: Groups, plan: Plan) -> Narrowed:
    """What `plan` cuts from the inputs of the layers that the dense model calls.

    Layers whose weights are handed to a function are left as surgery makes them.
    """
    functional = {site.module for group in groups for site in group.sites if site.weight}
    norms = {name: torch.from_numpy(axis.positions(plan.kept)) for name, axis in groups.norms.items()}
    narrower = {
        member
        for name, stays in norms.items()
        for member, _ in groups.norms[name].members
        if not stays.all() and member in plan.kept
    }
    layers = {}
    for group in groups:
        for part in group.slices:
            name = part.tensor.removesuffix(".weight")
            if (
                part.role != "in"
                or name == part.tensor
                or name in functional
                or not (parts := matrices_in(model.get_submodule(name)))
            ):
                continue
            axis = groups.axes[part.tensor, part.dim]
            stays = torch.from_numpy(axis.positions(plan.kept))
            if not stays.all():
                weight = model.get_parameter(part.tensor)
                outputs = groups.axes.get((part.tensor, 0))
                rows = torch.ones(len(weight)).bool()
                rows = rows if outputs is None else torch.from_numpy(outputs.positions(plan.kept))
                renormalised = any(member in narrower for member, _ in axis.members)
                layers[name] = NarrowedLayer(stays.repeat_interleave(weight[0, 0].numel()), rows, parts, renormalised)
    heads = {}
    for name, module in model.named_modules():
        packed = groups.axes.get((f"{name}.qkv.weight", 0)) if isinstance(module, Attention) else None
        if packed is None:
            continue
        q, _, v = torch.from_numpy(packed.positions(plan.kept)).reshape(3, module.num_heads, module.head_dim)
        found = NarrowedHeads(name, q, v)
        plain = module.gate is None and isinstance(module.norm, nn.Identity)
        if plain and found.alive and (found.mixes_values() or found.mixes_products()):
            heads[name] = found
    statistics = {}
    for name, module in model.named_modules():
        if keeps_statistics(module):
            channels = groups.axes.get((f"{name}.running_mean", 0), Axis(len(module.get_buffer("running_mean"))))
            stays = torch.from_numpy(channels.positions(plan.kept))
            if stays.any():
                statistics[name] = stays
    return Narrowed(layers, heads, {name: stays for name, stays in norms.items() if not stays.all()}, statistics)


def _part(packed: Tensor, number: int) -> Tensor:
    """The queries (0) or keys (1) `[B, N, width]` of a packed projection; keys about their image's mean.

    The mean key adds the same to all logits of a query, which no softmax sees.
    """
    part = packed.chunk(3, dim=-1)[number]
    return part - part.mean(1, keepdim=True) if number else part
