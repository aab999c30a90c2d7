"""What a layer does with its weight and its bias: which dimensions read, which make."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from secateur.pipeline.structure.graph.coupling import FIXED
from secateur.pipeline.structure.graph.rules import Call
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.unify import Cost
from secateur.pipeline.structure.graph.value import Value, dims_of

INPUT = "it reads values that cannot be removed"
COMPUTED = "the weight that reads it is computed from others, and that needs all of it"


def note_weight(trace: Trace, call: Call, reads: int | None, makes: int | None) -> None:
    """Notes what the dimensions of a layer's weight do, and which module's call it is."""
    node = call.node.args[1]
    if reads is not None:
        trace.role(node, reads, "in")
    if makes is not None:
        trace.role(node, makes, "out")
    name = trace.parameter_of(node)
    if name and trace.owners.get(name) != name.rpartition(".")[0]:  # the layer itself may be called, too
        trace.owners[name] = call.module
        if isinstance(read := call.node.args[0], fx.Node) and read in trace.places:
            trace.samples[name] = trace.places[read]
    if node in trace.names:
        trace.handed.add(name)


def with_bias(trace: Trace, call: Call, result: Value, bias: Value | None, channel: int, place: int = 2) -> Value:
    """What a layer has made along `channel`, with the positions of its bias, argument `place`, coupled to it."""
    if isinstance(bias, Value):
        for labels in bias.maps:
            for made in result.on(channel):
                trace.coupling.couple(labels.reshape(-1), made.reshape(-1))
        node = call.node.args[place] if len(call.node.args) > place else call.node.kwargs.get("bias")
        trace.role(node, 0, "out")
    return result


def features(trace: Trace, call: Call, x: Value, dim: int, layer: str) -> Tensor:
    """The labels along the one dimension of its input that a layer reads; what changes along others stays."""
    found = torch.full((x.shape[dim],), FIXED)
    for labels in x.maps:
        if dims_of(labels) == {dim}:
            found = labels.reshape(-1)
        else:
            trace.coupling.fix(labels, f"{call.module}: {layer} runs over it")
    return found


def couple_read(trace: Trace, call: Call, weight: Tensor, read: Tensor) -> None:
    """What the weight of a layer reads goes with the labels that it meets; it stays where nothing makes these."""
    if bool((read == FIXED).all()):
        trace.coupling.fix(weight, f"{call.module}: {INPUT}")
    elif bool((weight == FIXED).all()):
        trace.coupling.fix(read, f"{call.module}: {COMPUTED}")
    else:
        trace.coupling.couple(weight, read)


def vector(weight: Value, dim: int) -> Tensor:
    """The labels of one dimension of a weight, `[length]`; computed weights have none."""
    for labels in weight.maps:
        if dims_of(labels) == {dim}:
            return labels.reshape(-1)
    return torch.full((weight.shape[dim],), FIXED)


def cost_along(call: Call, factor: float, *axes: tuple[Tensor, int]) -> Cost:
    """`factor` times the lengths of axes, each with its labels and its length."""
    maps = []
    for labels, size in axes:
        if labels.numel() == size and size > 1:
            maps.append(labels)
        else:
            factor *= size
    return Cost(call.module, factor, tuple(maps))
