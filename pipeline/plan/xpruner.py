"""Learned rates: soft masks with a threshold in each group, under a cost constraint whose multipliers rise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from secateur.core.ranges import Range
from secateur.pipeline.plan.allocation import Allocation, Order, Problem, allocation
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.evolution import through
from secateur.pipeline.plan.mask_loss import Loss
from secateur.pipeline.plan.soft_cost import SoftCost, check_formula

MEMORY = 0.9
"""How much of the running size of the loss's gradient each step of the descent keeps."""
BETA = 5.0
"""The first multiplier of the squared excess; that of the excess itself starts from 0."""
TIGHTENED = 0.5
"""The part of the descent in which the budget goes from the first cost to the one asked for."""
FARTHEST = 1.0
"""The largest change of a logit in one step of the descent."""
MOST_LR = 0.1
"""With more, the cost would swing around the budget."""
TINY = 1e-12


@allocation("xpruner")
class Xpruner(Allocation):
    """`steps` of descent on the rates of the groups (X-Pruner, arXiv 2303.04935).

    The budget tightens during the first half of the steps, while the temperature of the soft masks rises from `cool`
    to `sharp`; with `lr`, `ascent` falls to 0.

    >>> instruments = sc.Instruments(mask_loss=sc.mask_loss(model, groups, loader, batch_size=5))
    >>> sc.make_plan(groups, scores, sc.Budget(macs=0.6), sc.Xpruner(steps=2), instruments).facts.allocate
    'xpruner'
    """

    steps: Annotated[int, Range(1)] = 100
    """How many steps of descent the rates are learned in."""
    batch_size: Annotated[int, Range(1)] = 32
    """How many images a step looks at."""
    images: Annotated[int, Range(0)] = 200
    """How many calibration images are used; 0 for all."""
    start: Annotated[float, Range(0, 1, strict=True)] = 0.9
    """The share of its units that every group starts with."""
    cool: Annotated[float, Range(0, strict=True)] = 10.0
    """The temperature of the soft masks at the start, for units on a scale from 0 to 1."""
    sharp: Annotated[float, Range(0, strict=True)] = 100.0
    """The temperature of the soft masks at the end."""
    lr: Annotated[float, Range(1e-6, MOST_LR)] = 0.05
    """The share of the budget by which a first step changes the cost; it falls to 0."""
    ascent: Annotated[float, Range(0, strict=True)] = 0.5
    """How fast the multipliers follow what exceeds the budget."""
    loss: Loss = "divergence"
    """What is descended: the divergence from the dense model's predictions, which looks at no labels, or the paper's
    cross-entropy.
    """

    needs: ClassVar[tuple[str, ...]] = ("mask_loss",)

    def check(self, budget: Budget) -> None:
        """Raises `PlanError` for a latency budget, whose cost has no gradient."""
        check_formula(budget)

    def order(self, problem: Problem) -> Order:
        """The steps in an order that passes through the widths which the learned rates ask for (`learn_rates`)."""
        widths = {group.name: group.width(rate) for group, rate in learn_rates(self, problem)}
        return through(problem, [widths.get(name, 0) for name in problem.steps])


@dataclass(frozen=True)
class SoftGroup:
    """A group's units in the order in which they go, each at the share of the group that is gone before and after it.

    `first` and `last` `[units]` are the shares before and after a unit's removal step, `place` their mean; units that
    stay in any case lie beyond 1. `ends` are the shares that are gone after each removal step.
    """

    name: str
    place: Tensor
    first: Tensor
    last: Tensor
    ends: tuple[float, ...]

    @property
    def most(self) -> float:
        """The largest share that may go."""
        return self.ends[-1]

    def mask(self, rate: Tensor, temperature: float) -> Tensor:
        """The soft mask `[units]`: (1 + tanh(n (place - threshold))) / 2, for the threshold 1 - rate."""
        return (1 + torch.tanh(temperature * (self.place - (1 - rate)))) / 2

    def shares(self, rate: Tensor) -> Tensor:
        """How much of each unit stays `[units]`: whole units but for the removal step that the threshold lies in."""
        return 1 - ((1 - rate - self.first) / (self.last - self.first)).clamp(0, 1)

    def width(self, rate: float) -> int:
        """How many removal steps a rate asks for: the number whose share is closest."""
        gaps = [abs(1 - rate - gone) for gone in (0.0, *self.ends)]
        return gaps.index(min(gaps))


def soft_groups(problem: Problem) -> list[SoftGroup]:
    """All groups that can lose anything."""
    found = []
    for name, steps in problem.steps.items():
        units, gone, ends = problem.groups.named(name).units, 0, []
        first, last = torch.full((units,), 2.0), torch.full((units,), 3.0)
        for step in steps:
            index = torch.tensor(step.units)
            first[index] = gone / units
            gone += len(step.units)
            last[index] = gone / units
            ends.append(gone / units)
        if ends:
            found.append(SoftGroup(name, (first + last) / 2, first, last, tuple(ends)))
    return found


def learn_rates(spec: Xpruner, problem: Problem) -> list[tuple[SoftGroup, float]]:
    """Each group with the share of its units that stays, learned so that the cost comes to the budget.

    The paper's two numbers of a layer, a rate r = sigmoid(logit) and a threshold theta, are one here: units stand at
    the share of their group that is less important, so that theta = 1 - r whatever the scores' scale. The logits
    descend along loss + gamma g + beta g^2, where g is the excess of the true cost over the budget, relative to it;
    gamma and beta ascend with g and g^2. The loss counts by the running size of its gradient, and a step is measured
    by what it would change g by, so that the same multipliers and steps suit any model.
    """
    loss_of, limit = problem.mask_loss, problem.limit()
    groups = soft_groups(problem)
    soft_cost = SoftCost(problem.groups, problem.budget, list(problem.steps))
    most = torch.tensor([group.most for group in groups])
    logits = torch.full_like(most, math.log(spec.start / (1 - spec.start)), requires_grad=True)
    gamma, beta, size = 0.0, BETA, 0.0

    def rates() -> Tensor:
        return 1 - most * (1 - logits.sigmoid())

    def cost() -> Tensor:
        return soft_cost({group.name: group.shares(rate) for group, rate in zip(groups, rates(), strict=True)})

    first = cost().item()
    for step in range(spec.steps):
        pace = (1 + math.cos(math.pi * step / spec.steps)) / 2
        temperature = spec.cool * (spec.sharp / spec.cool) ** (step / max(spec.steps - 1, 1))
        goal = limit * (first / limit) ** max(0.0, 1 - step / (TIGHTENED * spec.steps))
        loss = loss_of({group.name: group.mask(rate, temperature) for group, rate in zip(groups, rates(), strict=True)})
        excess = cost() / goal - 1
        (down,), (along,) = torch.autograd.grad(loss, logits), torch.autograd.grad(excess, logits)
        g, slope, steepness = excess.item(), max(along.norm().item(), TINY), down.norm().item()
        size = MEMORY * size + (1 - MEMORY) * steepness if step else steepness
        move = pace * down / max(size, TINY) + (pace * gamma + 2 * beta * g) * along / slope
        with torch.no_grad():
            logits -= (spec.lr / slope * move).clamp(-FARTHEST, FARTHEST)
        gamma, beta = gamma + spec.ascent * pace * g, beta + spec.ascent * pace * g * g
        problem.instruments.say(
            f"rates: step {step + 1} of {spec.steps}, loss {loss.item():.4f}, cost {(1 + g) * goal / limit:.3f} of the "
            f"budget, multipliers {gamma:.2f} and {beta:.2f}"
        )
    return list(zip(groups, rates().tolist(), strict=True))
