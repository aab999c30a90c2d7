"""The registry of relevance rules for layers with weights: a new rule is one file with one decorated function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secateur.core.errors import PlanError, near_matches

RULE_MODULES = ("epsilon", "gamma", "z_plus", "alpha_beta")
STABILISER = 1e-6


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer: `operation(x, weight, bias)` with its weights, BatchNorm already folded in."""

    operation: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return self.operation(x, self.weight, self.bias)

    def positive(self, x: Tensor) -> Tensor:
        """The sum of the positive contributions, `sum_i (x_i w_ij)^+ + b_j^+`."""
        bias = self.bias.clamp(min=0) if self.bias is not None else None
        return self._signs(x, self.weight.clamp(min=0), self.weight.clamp(max=0), bias)

    def negative(self, x: Tensor) -> Tensor:
        """The sum of the negative contributions, `sum_i (x_i w_ij)^- + b_j^-`."""
        bias = self.bias.clamp(max=0) if self.bias is not None else None
        return self._signs(x, self.weight.clamp(max=0), self.weight.clamp(min=0), bias)

    def _signs(self, x: Tensor, above: Tensor, below: Tensor, bias: Tensor | None) -> Tensor:
        """`above` for the positive inputs and `below` for the negative ones; after a ReLU there are none of these."""
        if bool((x.detach() >= 0).all()):
            return self.operation(x, above, bias)
        return self.operation(x.clamp(min=0), above, bias) + self.operation(x.clamp(max=0), below, None)


RuleFunction = Callable[..., Tensor]
"""Called as `function(layer, x, **parameters)`; the layer's output, whose gradient times input is its relevance."""


@dataclass(frozen=True)
class Rule:
    """A registered rule with the defaults of its parameters."""

    name: str
    function: RuleFunction
    defaults: dict[str, float]


_RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[RuleFunction], RuleFunction]:
    """A decorator that registers a rule under `name`; raises `ValueError` on a duplicate."""

    def register(function: RuleFunction) -> RuleFunction:
        if name in _RULES:
            raise ValueError(f"the relevance rule {name!r} is registered twice")
        parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        _RULES[name] = Rule(name, function, {p.name: float(p.default) for p in parameters})
        return function

    return register


def rules() -> tuple[str, ...]:
    """The names of all registered rules, sorted."""
    for module in RULE_MODULES:
        importlib.import_module(f"secateur.pipeline.scores.lrp.{module}")
    return tuple(sorted(_RULES))


def find_rule(name: str) -> Rule:
    """The rule of that name; raises `PlanError` with the choices when there is none."""
    known = rules()
    if name not in known:
        raise PlanError(f"there is no relevance rule {name!r}, but {', '.join(known)}{near_matches(name, known)}")
    return _RULES[name]


def distribute(y: Tensor, parts: Sequence[tuple[float, Tensor]]) -> Tensor:
    """The values of `y`, whose relevance goes to the `parts` instead of the sum that made it.

    Of the relevance `R = y dF/dy`, `share * R` reaches each part `(share, z)` and is divided among the summands of
    `z` by their size: its gradient is `share * R / z`, stabilised.
    """
    out: Tensor = _Distribute.apply(y, [share for share, _ in parts], *[z for _, z in parts])
    return out


def stabilised(z: Tensor, by: float = STABILISER) -> Tensor:
    """`z` moved away from zero by `by`, zero itself upwards."""
    return z + torch.where(z < 0, -by, by).to(z.dtype)


class _Distribute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, shares: list[float], *parts: Tensor) -> Tensor:
        ctx.shares = shares
        ctx.save_for_backward(y, *parts)
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        y, *parts = ctx.saved_tensors
        relevance = y * gradient
        return None, None, *(relevance * share / stabilised(z) for share, z in zip(ctx.shares, parts, strict=True))
