"""Learned rates: soft masks with a threshold in each layer, under a cost constraint whose multipliers rise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from secateur.core.errors import PlanError
from secateur.pipeline.plan.allocate import Order, Problem, allocation
from secateur.pipeline.plan.evolution import through
from secateur.pipeline.plan.soft_cost import SoftCost
from secateur.pipeline.plan.xpruner_layers import Layer, layers_of

MEMORY = 0.9
"""How much of the running size of the loss's gradient each step keeps."""
BETA = 5.0
"""The first multiplier of the squared excess; that of the excess itself starts from 0."""
TIGHTENED = 0.5
"""The part of the steps in which the budget goes from the first cost to the one asked for."""
FARTHEST = 1.0
"""The largest change of a logit in one step."""
TINY = 1e-12


@allocation("xpruner")
def xpruner(problem: Problem) -> Order:
    """All chunks in an order that passes through the widths which the learned rates ask for (`learn_rates`).

    Raises `PlanError` without a soft judge, and for a latency budget.
    """
    widths = {layer.name: layer.width(rate) for layer, rate in learn_rates(problem)}
    return through(problem, [widths.get(name, 0) for name in problem.chunks])


def learn_rates(problem: Problem) -> list[tuple[Layer, float]]:
    """Each layer with the share of its units that stays, learned so that the cost comes to the budget.

    The paper's two numbers of a layer, a rate r = sigmoid(logit) and a threshold theta, are one here: units stand at
    the share of their group that is less important, so that theta = 1 - r whatever the scores' scale. The logits
    descend along loss + gamma g + beta g^2, where g is the excess of the true cost over the budget, relative to it;
    gamma and beta ascend with g and g^2. The loss counts by the running size of its gradient, and a step is measured
    by what it would change g by, so that the same multipliers and steps suit any model.
    """
    spec, judge, limit = problem.xpruner, problem.soft, problem.limit()
    if judge is None:
        raise PlanError(
            "the allocation 'xpruner' trains masks on the model: give make_plan a soft judge "
            "(pipeline.plan.soft_judge.soft_judge)"
        )
    layers = layers_of(problem)
    soft_cost = SoftCost(problem.groups, problem.budget, list(problem.chunks))
    most = torch.tensor([layer.most for layer in layers])
    logits = torch.full_like(most, math.log(spec.start / (1 - spec.start)), requires_grad=True)
    gamma, beta, size = 0.0, BETA, 0.0

    def rates() -> Tensor:
        return 1 - most * (1 - logits.sigmoid())

    def cost() -> Tensor:
        return soft_cost({layer.name: layer.shares(rate) for layer, rate in zip(layers, rates(), strict=True)})

    first = cost().item()
    for step in range(spec.steps):
        pace = (1 + math.cos(math.pi * step / spec.steps)) / 2
        temperature = spec.cool * (spec.sharp / spec.cool) ** (step / max(spec.steps - 1, 1))
        goal = limit * (first / limit) ** max(0.0, 1 - step / (TIGHTENED * spec.steps))
        loss = judge({layer.name: layer.mask(rate, temperature) for layer, rate in zip(layers, rates(), strict=True)})
        excess = cost() / goal - 1
        (down,), (along,) = torch.autograd.grad(loss, logits), torch.autograd.grad(excess, logits)
        g, slope, steepness = excess.item(), max(along.norm().item(), TINY), down.norm().item()
        size = MEMORY * size + (1 - MEMORY) * steepness if step else steepness
        move = pace * down / max(size, TINY) + (pace * gamma + 2 * beta * g) * along / slope
        with torch.no_grad():
            logits -= (spec.lr / slope * move).clamp(-FARTHEST, FARTHEST)
        gamma, beta = gamma + spec.ascent * pace * g, beta + spec.ascent * pace * g * g
        problem.say(
            f"rates: step {step + 1} of {spec.steps}, loss {loss.item():.4f}, cost {(1 + g) * goal / limit:.3f} of the "
            f"budget, multipliers {gamma:.2f} and {beta:.2f}"
        )
    return list(zip(layers, rates().tolist(), strict=True))
