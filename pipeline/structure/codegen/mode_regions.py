"""Regions of autocast and without gradients in a module's code, which may be others in training than in evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from torch import fx

from secateur.pipeline.structure.codegen.body import Body, ChildCall
from secateur.pipeline.structure.graph.regions import MARKS, autocast_of, end_of


@dataclass(frozen=True)
class Region:
    """A region that a call of `target` begins, in one mode only where `training` says in which."""

    target: Any
    args: tuple[Any, ...]
    training: bool | None = None


def regions_by_mode(own: Body, whole: Body, partners: Mapping[fx.Node, fx.Node]) -> dict[fx.Node, tuple[Region, ...]]:
    """For each step of `own`, as it is in training, the regions that it lies in, from the outermost on.

    Those of autocast in evaluation are the ones of its partner in `whole`, which was traced without gradients and shows
    no other regions: these are of both modes. Empty where both modes have the same.
    """
    trained, evaluated = _regions(own), _regions(whole)
    found = {}
    for node, regions in trained.items():
        others = [one for one in evaluated.get(partners.get(node, node), regions) if one.target is autocast_of]
        cast = [one for one in regions if one.target is autocast_of]
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(cast, others, strict=False)))
        in_training = (replace(one, training=True) for one in cast[same:])
        known = iter((*cast[:same], *in_training))
        found[node] = (
            *(next(known) if one.target is autocast_of else one for one in regions),
            *(replace(one, training=False) for one in others[same:]),
        )
    differ = any(region.training is not None for regions in found.values() for region in regions)
    return found if differ else {}


def _regions(body: Body) -> dict[fx.Node, tuple[Region, ...]]:
    """For each operation of a body the regions in it; for what a child makes those around the call."""
    inside = {node for step in body.steps if isinstance(step, ChildCall) for node in step.nodes}
    found: dict[fx.Node, tuple[Region, ...]] = {}
    begun: list[fx.Node] = []
    for node in body.nodes:
        if node.target is end_of:
            begun.pop()
        elif node.target in MARKS:
            begun.append(node)
        else:
            found[node] = tuple(Region(mark.target, mark.args) for mark in begun if mark not in inside)
    return found
