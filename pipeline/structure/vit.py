"""The groups of timm's vision transformers: heads, query/key and value dimensions, MLP hidden units."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import numpy as np
from timm.layers import Attention, GluMlp, Mlp, SwiGLU
from torch import nn

from secateur.pipeline.structure.groups import Axis, Fixed, Group, Norm, Role, Site, Slice, Term

MLP_CLASSES = (Mlp, GluMlp, SwiGLU)


@dataclass(frozen=True)
class Found:
    """The groups and fixed units of one module, the terms of its operations that have no weight, and its norms."""

    groups: tuple[Group, ...] = ()
    fixed: tuple[Fixed, ...] = ()
    terms: tuple[Term, ...] = ()
    norms: Mapping[str, Norm] = field(default_factory=dict)


def is_mlp(module: nn.Module) -> bool:
    """Whether the module is one of timm's MLPs built from linear layers."""
    return isinstance(module, MLP_CLASSES) and isinstance(module.fc2, nn.Linear)


def attention_groups(name: str, module: Attention, tokens: float, known_norms: Container[str] = ()) -> Found:
    """The heads, query/key dims and value dims of one attention; `tokens` is the sequence length it sees.

    Where queries and keys are normalised by modules among `known_norms`, which all heads share and which can do with
    fewer dimensions, a unit is the same dimension of all heads.
    """
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
    normed = [f"{name}.{part}" for part in ("q_norm", "k_norm") if not isinstance(getattr(module, part), nn.Identity)]
    dim_of = values % dims if normed else values
    if all(norm in known_norms for norm in normed):
        units = tuple(int(unit) for unit in np.concatenate([dim_of, dim_of, none]))
        scales = [
            Slice(f"{norm}.{key}", 0, "norm", tuple(range(dims)))
            for norm in normed
            for key, _ in module.get_submodule(norm.removeprefix(f"{name}.")).named_parameters()
        ]
        slices = (*_rows(module, name, "qkv", units), *scales)
        sites = site("qkv", "output", np.asarray(units))
        if normed:
            groups.append(Group(f"{name}.qk", "qk_dim", dims, slices, sites, family=f"qk_dim:{family}", min_units=1))
        else:
            parent = f"{name}.heads" if isinstance(module.norm, nn.Identity) else ""
            groups.append(Group(f"{name}.qk", "qk_dim", width, slices, sites, heads, parent, f"qk_dim:{family}", 1))
    else:
        reason = "queries and keys are normalised over the head's dimensions in a way that fewer of them would change"
        fixed.append(Fixed(f"{name}.qk", "qk_dim", width, reason))

    def length(kind: str) -> Axis:
        members = []
        for group in groups:
            if group.kind == "head":
                members.append((group.name, tuple(int(h) for h in head_of)))
            elif group.kind == kind:
                members.append((group.name, tuple(int(unit) for unit in (dim_of if kind == "qk_dim" else values))))
        return Axis(width, tuple(members))

    terms = (
        Term(f"{name}.logits", tokens * tokens, (length("qk_dim"),)),
        Term(f"{name}.values", tokens * tokens, (length("v_dim"),)),
    )
    qk = [(group.name, tuple(range(dims))) for group in groups if group.kind == "qk_dim"]
    norms = {norm: Norm(dims, tuple(qk)) for norm in normed if qk}
    return Found(tuple(groups), tuple(fixed), terms, norms)


def _rows(module: nn.Module, name: str, layer: str, units: tuple[int, ...], role: Role = "out") -> list[Slice]:
    """The slices of a linear layer's output rows: its weight and, where it has one, its bias."""
    slices = [Slice(f"{name}.{layer}.weight", 0, role, units)]
    if module.get_submodule(layer).bias is not None:
        slices.append(Slice(f"{name}.{layer}.bias", 0, role, units))
    return slices
