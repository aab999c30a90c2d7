"""Whole layers as units beside the units inside them: attentions, MLPs, and blocks of one of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from secateur.pipeline.structure.groups import LAYER_KINDS, Group, Groups, Kept, Kind

OUTERMOST: dict[Kind, tuple[Kind, str]] = {"head": ("attention", ".heads"), "mlp_hidden": ("mlp", ".hidden")}
"""The layer that is left as a constant when all units of a group are gone, and how the group's name ends in it."""
INSIDE: dict[Kind, tuple[Kind, ...]] = {
    "attention": ("head", "qk_dim", "v_dim"),
    "mlp": ("mlp_hidden",),
    "block": ("head", "qk_dim", "v_dim", "mlp_hidden"),
}
"""The kinds of units inside each kind of layer."""


def with_layers(groups: Groups) -> Groups:
    """The groups with one more, of one unit, for each layer that may go whole: then its branch is a constant.

    A layer `holds` the groups inside it, and is not one of the architecture's own: a plan names the units inside it
    (`in_units`), and fits the groups with and without layers. Those of a model with layers already are returned as they
    are.

    >>> layers = sc.with_layers(groups)
    >>> [group.name for group in layers if group.kind == "mlp"]
    ['blocks.0.mlp', 'blocks.1.mlp']
    """
    if any(group.holds for group in groups):
        return groups
    layers = [_layer(groups, group) for group in groups if group.kind in OUTERMOST and not group.min_units]
    blocks: dict[str, list[Group]] = {}
    for layer in layers:
        blocks.setdefault(layer.name.rpartition(".")[0], []).append(layer)
    whole = [_block(name, pair) for name, pair in blocks.items() if name and _is_block(pair)]
    return replace(groups, groups=(*groups, *layers, *whole), architecture=groups.fingerprint())


def groups_for(kinds: Collection[str], groups: Groups) -> Groups:
    """The groups, with whole layers where one of the kinds is of these."""
    return with_layers(groups) if asks_for_layers(kinds) else groups


def in_units(groups: Groups, kept: Kept) -> Kept:
    """A choice in which layers that go are all units inside them, and that names no layers."""
    layers = [group for group in groups if group.holds and group.name in kept]
    if not layers:
        return kept
    names = {layer.name for layer in layers}
    found = {name: units for name, units in kept.items() if name not in names}
    for layer in layers:
        if not kept[layer.name]:
            found.update(dict.fromkeys(layer.holds, ()))
    return found


def unit_names(groups: Groups, names: Sequence[str]) -> list[str]:
    """The names of groups, with those inside a layer in its place; each once."""
    found = [inner for name in names for inner in groups.named(name).holds or (name,)]
    return list(dict.fromkeys(found))


def unit_kinds(kinds: Sequence[Kind]) -> tuple[Kind, ...]:
    """The kinds, with those of the units inside a layer in its place; each once."""
    return tuple(dict.fromkeys(inner for kind in kinds for inner in INSIDE.get(kind, (kind,))))


def asks_for_layers(kinds: Collection[str]) -> bool:
    """Whether some of the kinds are of whole layers."""
    return any(kind in LAYER_KINDS for kind in kinds)


def _layer(groups: Groups, outermost: Group) -> Group:
    kind, end = OUTERMOST[outermost.kind]
    inside = [outermost.name, *(group.name for group in groups if group.parent == outermost.name)]
    return _of_one_unit(outermost.name.removesuffix(end), kind, [outermost], inside)


def _block(name: str, layers: Sequence[Group]) -> Group:
    return _of_one_unit(name, "block", layers, [inner for layer in layers for inner in layer.holds])


def _is_block(layers: Sequence[Group]) -> bool:
    return sorted(layer.kind for layer in layers) == ["attention", "mlp"]


def _of_one_unit(name: str, kind: Kind, parts: Sequence[Group], holds: Sequence[str]) -> Group:
    """A group of one unit with all slices and sites of some groups."""
    slices = tuple(replace(one, units=_one(one.units)) for part in parts for one in part.slices)
    sites = tuple(replace(one, units=_one(one.units)) for part in parts for one in part.sites)
    family = ":".join([kind, *(part.family for part in parts)])
    return Group(name, kind, 1, slices, sites, family=family, holds=tuple(holds))


def _one(units: Sequence[int]) -> tuple[int, ...]:
    return tuple(min(unit, 0) for unit in units)
