"""What is no group's since no layer reads it: named, with the reason, so that nothing is skipped in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import nn

from secateur.pipeline.structure.graph.components import Components, Place
from secateur.pipeline.structure.graph.coupling import FIXED
from secateur.pipeline.structure.graph.naming import kind_of, name_of
from secateur.pipeline.structure.graph.trace import OUTPUT, Trace
from secateur.pipeline.structure.groups import MAKES, Fixed, Kind

UNREAD = "no layer reads them"


def fixed_alone(
    model: nn.Module, trace: Trace, components: Components, families: Iterable[tuple[list[Place], list[int]]]
) -> list[Fixed]:
    """What layers make in some families and no layer reads, and what is read by operations that cannot be followed.

    A family is the places of some components and those components. Left out are tables and biases that nothing reads,
    what only reads the model's input, and what the model returns.
    """
    made: Counter[tuple[str, Kind, str]] = Counter()
    lost: dict[tuple[str, Kind, str], int] = {}
    for places, members in families:
        if members == [int(components.of_label[FIXED])]:
            made.update(_tied(model, trace, components, places, members[0]))
            continue
        kind = kind_of(model, trace, components, members[0], places)
        name = name_of(trace, places, kind, set())
        by_layer = any(trace.roles.get(place) in MAKES for place in places)
        units = Counter(components.reasons.get(member, UNREAD) for member in members)
        for reason, count in units.items():
            if by_layer and reason != OUTPUT:
                made[name, kind, reason] += count
            elif not by_layer and members[0] in components.marks["lost"]:
                lost[name, kind, reason] = max(count, lost.get((name, kind, reason), 0))
    for tensor, reason in trace.unread.items():
        labels = trace.tensors[tensor][0]
        made[f"{tensor.removesuffix('.weight')}.channels", "channel", reason] += 1 if labels is None else len(labels)
    return [Fixed(name, kind, count, reason) for (name, kind, reason), count in {**lost, **made}.items()]


def _tied(
    model: nn.Module, trace: Trace, components: Components, places: Iterable[Place], tied: int
) -> Counter[tuple[str, Kind, str]]:
    """What layers make that is tied to values of no parameter, `tied` being the one component of all these."""
    found: Counter[tuple[str, Kind, str]] = Counter()
    layers: set[str] = set()
    for place in places:
        layer = place[0].rpartition(".")[0]
        if trace.roles.get(place) in MAKES and layer not in layers:
            layers.add(layer)
            kind = kind_of(model, trace, components, tied, [place])
            key = (name_of(trace, [place], kind, set()), kind, components.reasons[tied])
            found[key] += int((components.at[place] == tied).sum())
    return found
