"""The choices of a knapsack: widths of single groups, and of layers with what is inside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from secateur.pipeline.plan.allocation import Problem
from secateur.pipeline.plan.multiple_choice import Floats, unbeaten
from secateur.pipeline.structure.groups import Group

MOST_CHOICES = 512
"""At most so many choices of a class are weighed; `fit_budget` takes single steps back afterwards."""


@dataclass(frozen=True)
class Choices:
    """A class of choices, of which one is taken: their `losses` and `savings` `[choices]`.

    `steps` `[choices, groups]` has how many removal steps each takes of the groups with these `names`.
    """

    names: tuple[str, ...]
    steps: NDArray[np.int64]
    losses: Floats
    savings: Floats

    def counts(self, choice: int) -> Mapping[str, int]:
        """How many steps a choice takes of each group."""
        return dict(zip(self.names, self.steps[choice].tolist(), strict=True))

    def fewer(self) -> Choices:
        """Those that no other one beats, at most `MOST_CHOICES` of them, evenly spread."""
        left = unbeaten(self.losses, self.savings)
        left = left[choices(len(left) - 1)]
        return replace(self, steps=self.steps[left], losses=self.losses[left], savings=self.savings[left])

    def beside(self, other: Choices) -> Choices:
        """Each choice of both together, where losses and savings add up."""
        pairs = list(product(range(len(self.losses)), range(len(other.losses))))
        mine, theirs = (np.array(part) for part in zip(*pairs, strict=True))
        return Choices(
            (*self.names, *other.names),
            np.concatenate([self.steps[mine], other.steps[theirs]], axis=1),
            self.losses[mine] + other.losses[theirs],
            self.savings[mine] + other.savings[theirs],
        )

    def or_whole(self, problem: Problem, layer: Group) -> Choices:
        """The choices and one more: that the layer goes whole, and nothing of what is inside it for itself."""
        alone = _of_groups(problem, [layer.name])
        width = len(self.names)
        inside = np.pad(self.steps, ((0, 0), (0, 1)))
        whole = np.pad(alone.steps[1:], ((0, 0), (width, 0)))
        return Choices(
            (*self.names, layer.name),
            np.concatenate([inside, whole]),
            np.concatenate([self.losses, alone.losses[1:]]),
            np.concatenate([self.savings, alone.savings[1:]]),
        )


def classes_of(problem: Problem) -> list[Choices]:
    """The classes of a problem, by the names of their groups: of each group alone, but one for each outermost layer.

    Attentions and MLPs take the choices inside them or go whole, and so do blocks of these. What heads and dimensions
    of one attention save together is counted as it is; of a block the parts' savings add up.
    """
    layers = [problem.groups.named(name) for name in sorted(problem.steps) if problem.groups.named(name).holds]
    inside = {name for layer in layers for name in layer.holds}
    free = [name for name in sorted(problem.steps) if name not in inside and not problem.groups.named(name).holds]
    outermost = [one for one in layers if not any(set(one.holds) < set(other.holds) for other in layers)]
    return [
        *(_of_groups(problem, [name]) for name in free),
        *(_of_layer(problem, layer, layers) for layer in outermost),
    ]


def choices(steps: int) -> NDArray[np.int64]:
    """The numbers of removal steps that are weighed, from none to all of `steps`."""
    return spread(steps, MOST_CHOICES)


def spread(steps: int, most: int) -> NDArray[np.int64]:
    """At most `most` numbers and one from none to all of `steps`, evenly spread."""
    return np.unique(np.linspace(0, steps, min(steps, most) + 1).round().astype(np.int64))


def _of_layer(problem: Problem, layer: Group, layers: Sequence[Group]) -> Choices:
    """The choices of a layer, and of the layers inside it."""
    inner = [one for one in layers if set(one.holds) < set(layer.holds)]
    held = {name for one in inner for name in one.holds}
    parts = [_of_layer(problem, one, layers) for one in inner]
    for related in _related(problem, [name for name in layer.holds if name in problem.steps and name not in held]):
        parts.append(_of_groups(problem, related))
    if not parts:
        return _of_groups(problem, [layer.name])
    found = parts[0].fewer()
    for part in parts[1:]:
        found = found.beside(part.fewer()).fewer()
    return found.or_whole(problem, layer)


def _related(problem: Problem, names: Sequence[str]) -> list[list[str]]:
    """The groups, those of one attention together."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(problem.groups.named(name).parent or name, []).append(name)
    return list(found.values())


def _of_groups(problem: Problem, names: Sequence[str]) -> Choices:
    """The choices of some groups together, with what they truly save; of several, at most `MOST_CHOICES` in all."""
    each = int(MOST_CHOICES ** (1 / len(names)) + 1e-9) - (len(names) > 1)
    widths = [spread(len(problem.steps[name]), each) for name in names]
    lost = [
        np.cumsum([0.0, *(step.score * len(step.units) for step in problem.steps[name])])[counts]
        for name, counts in zip(names, widths, strict=True)
    ]
    dense, saved, losses = problem.cost({}), [], []
    for places in product(*(range(len(counts)) for counts in widths)):
        kept: dict[str, Sequence[int]] = {}
        for name, counts, place in zip(names, widths, places, strict=True):
            kept.update(problem.without(name, int(counts[place])))
        saved.append(dense - problem.cost(kept))
        losses.append(sum(float(part[place]) for part, place in zip(lost, places, strict=True)))
    steps = np.array(list(product(*(counts.tolist() for counts in widths))), dtype=np.int64)
    return Choices(tuple(names), steps, np.array(losses), np.array(saved))
