"""What a layer does with its weight and its bias: which dimensions read, which make."""

from __future__ import annotations

from torch import fx

from secateur.pipeline.structure.graph.rules import Call
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import Value


def note_weight(trace: Trace, call: Call, reads: int | None, makes: int | None) -> None:
    """Notes what the dimensions of a layer's weight do, and which module's call it is."""
    node = call.node.args[1]
    if reads is not None:
        trace.role(node, reads, "in")
    if makes is not None:
        trace.role(node, makes, "out")
    if isinstance(node, fx.Node) and node in trace.names:
        trace.owners[trace.names[node]] = call.module


def with_bias(trace: Trace, call: Call, result: Value, bias: Value | None, channel: int, place: int = 2) -> Value:
    """What a layer has made along `channel`, with the positions of its bias, argument `place`, coupled to it."""
    if isinstance(bias, Value):
        for labels in bias.maps:
            for made in result.on(channel):
                trace.coupling.couple(labels.reshape(-1), made.reshape(-1))
        node = call.node.args[place] if len(call.node.args) > place else call.node.kwargs.get("bias")
        trace.role(node, 0, "out")
    return result
