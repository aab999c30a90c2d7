"""The groups of timm's vision transformers: heads, query/key and value dimensions, MLP hidden units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from timm.layers import Attention, GluMlp, Mlp, SwiGLU
from torch import nn

from secateur.pipeline.structure.groups import Axis, Fixed, Group, Role, Site, Slice, Term

MLP_CLASSES = (Mlp, GluMlp, SwiGLU)


@dataclass(frozen=True)
class Found:
    """The groups and fixed units of one module, and the terms of its operations that have no weight."""

    groups: tuple[Group, ...] = ()
    fixed: tuple[Fixed, ...] = ()
    terms: tuple[Term, ...] = ()


def is_mlp(module: nn.Module) -> bool:
    """Whether the module is one of timm's MLPs built from linear layers."""
    return isinstance(module, MLP_CLASSES) and isinstance(module.fc2, nn.Linear)


def attention_groups(name: str, module: Attention, tokens: float) -> Found:
    """The heads, query/key dims and value dims of one attention; `tokens` is the sequence length it sees."""
    heads, dims = module.num_heads, module.head_dim
    width = heads * dims
    groups: list[Group] = []
    fixed: list[Fixed] = []
    head_of = np.arange(width) // dims
    none = np.full(width, -1)
    values = np.arange(width)
    family = f"{heads}x{dims}x{module.qkv.in_features}"

    def projection(part: np.ndarray) -> list[Slice]:
        return _rows(module, name, "qkv", tuple(int(unit) for unit in part))

    def readers(units: np.ndarray) -> list[Slice]:
        index = tuple(int(unit) for unit in units)
        gate = _rows(module, name, "gate", index, "norm") if module.gate is not None else []
        return [*gate, Slice(f"{name}.proj.weight", 1, "in", index)]

    def site(layer: str, side: str, units: np.ndarray) -> tuple[Site, ...]:
        index = tuple(int(unit) for unit in units)
        return (Site(f"{name}.{layer}", "input" if side == "input" else "output", -1, index),)

    all_heads, v_only = np.tile(head_of, 3), np.concatenate([none, none, values])
    q_and_k = np.concatenate([values, values, none])
    if isinstance(module.norm, nn.Identity):
        head_slices = (*projection(all_heads), *readers(head_of))
        head_sites = site("proj", "input", head_of)
        groups.append(Group(f"{name}.heads", "head", heads, head_slices, head_sites, family=f"head:{family}"))
        v_slices = (*projection(v_only), *readers(values))
        v_sites, parent = site("proj", "input", values), f"{name}.heads"
        groups.append(
            Group(f"{name}.v", "v_dim", width, v_slices, v_sites, heads, parent, f"v_dim:{family}", min_units=1)
        )
    else:
        reason = "a normalisation over all heads' values changes when one of them goes"
        fixed += [Fixed(f"{name}.heads", "head", heads, reason), Fixed(f"{name}.v", "v_dim", width, reason)]
    if not isinstance(module.q_norm, nn.Identity):
        reason = "queries and keys are normalised over the head's dimensions, which changes when one of them goes"
        fixed.append(Fixed(f"{name}.qk", "qk_dim", width, reason))
    else:
        parent = f"{name}.heads" if isinstance(module.norm, nn.Identity) else ""
        sites = site("qkv", "output", q_and_k)
        slices = tuple(projection(q_and_k))
        groups.append(Group(f"{name}.qk", "qk_dim", width, slices, sites, heads, parent, f"qk_dim:{family}", 1))

    def length(kind: str) -> Axis:
        members = []
        for group in groups:
            if group.kind == "head":
                members.append((group.name, tuple(int(h) for h in head_of)))
            elif group.kind == kind:
                members.append((group.name, tuple(range(width))))
        return Axis(width, tuple(members))

    terms = (
        Term(f"{name}.logits", tokens * tokens, (length("qk_dim"),)),
        Term(f"{name}.values", tokens * tokens, (length("v_dim"),)),
    )
    return Found(tuple(groups), tuple(fixed), terms)


def _rows(module: nn.Module, name: str, layer: str, units: tuple[int, ...], role: Role = "out") -> list[Slice]:
    """The slices of a linear layer's output rows: its weight and, where it has one, its bias."""
    slices = [Slice(f"{name}.{layer}.weight", 0, role, units)]
    if module.get_submodule(layer).bias is not None:
        slices.append(Slice(f"{name}.{layer}.bias", 0, role, units))
    return slices
