"""Which layers of a pruned model are to be repaired: those that read fewer features than the dense model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from timm.layers import Attention
from torch import Tensor, nn

from secateur.pipeline.plan.plan import Plan
from secateur.pipeline.recover.readers import input_rows, is_matrix
from secateur.pipeline.recover.statistics import Probe
from secateur.pipeline.structure.groups import Groups


@dataclass(frozen=True)
class Heads:
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
class Cut:
    """The layers that read less, by name with the mask `[columns]` of what stays; the attentions whose heads shrank."""

    layers: Mapping[str, Tensor]
    heads: Mapping[str, Heads] = field(default_factory=dict)

    def probes(self, model: nn.Module) -> dict[str, Probe]:
        """Where the dense model's statistics are read: the layers' inputs, and queries and keys."""
        probes = {name: Probe(name, "input", partial(input_rows, model.get_submodule(name))) for name in self.layers}
        for name, heads in self.heads.items():
            if heads.mixes_products():
                probes[f"{name}.q"] = Probe(f"{name}.qkv", "output", partial(_part, number=0))
                probes[f"{name}.k"] = Probe(f"{name}.qkv", "output", partial(_part, number=1))
        return probes


def find_cut(model: nn.Module, groups: Groups, plan: Plan) -> Cut:
    """What `plan` cuts from the inputs of the dense model's layers."""
    layers = {}
    for group in groups:
        for part in group.slices:
            name = part.tensor.removesuffix(".weight")
            if part.role != "in" or not is_matrix(model.get_submodule(name)):
                continue
            stays = torch.from_numpy(groups.axes[part.tensor, part.dim].positions(plan.kept))
            if not stays.all():
                weight = model.get_parameter(part.tensor)
                layers[name] = stays.repeat_interleave(weight[0, 0].numel())
    heads = {}
    for name, module in model.named_modules():
        axis = groups.axes.get((f"{name}.qkv.weight", 0)) if isinstance(module, Attention) else None
        if axis is None:
            continue
        q, _, v = torch.from_numpy(axis.positions(plan.kept)).reshape(3, module.num_heads, module.head_dim)
        found = Heads(name, q, v)
        plain = module.gate is None and isinstance(module.norm, nn.Identity)
        if plain and found.alive and (found.mixes_values() or found.mixes_products()):
            heads[name] = found
    return Cut(layers, heads)


def _part(packed: Tensor, number: int) -> Tensor:
    """The queries (0) or keys (1) `[B, N, width]` of a packed projection; keys about their image's mean.

    The mean key adds the same to all logits of a query, which no softmax sees.
    """
    part = packed.chunk(3, dim=-1)[number]
    return part - part.mean(1, keepdim=True) if number else part
