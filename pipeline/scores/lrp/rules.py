"""The relevance rules of convolutions and linear layers: a new rule is one decorated dataclass.

A rule computes the layer's output in such a way that its gradient times its input is the relevance of the input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, no_grad

from secateur.core.errors import PlanError
from secateur.core.options import check_fields
from secateur.core.ranges import Range
from secateur.core.registry import Registry

STABILISER = 1e-6
Number = Annotated[float, Range(0)]


@dataclass(frozen=True)
class AffineMap:
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


class Rule(ABC):
    """A relevance rule with its parameters: a frozen dataclass, checked when one is made."""

    def __post_init__(self) -> None:
        check_fields(self, self.name)

    @property
    def name(self) -> str:
        """The name that composites know the rule by."""
        return RULES.name_of(type(self))

    @property
    def parameters(self) -> Mapping[str, float]:
        """The rule's parameters by name."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # every rule is a dataclass

    @abstractmethod
    def __call__(self, layer: AffineMap, x: Tensor) -> Tensor:
        """The layer's output, whose gradient times input is its relevance."""


RULES: Registry[type[Rule]] = Registry("relevance rule", {})
rule = RULES.register


@rule("epsilon")
@dataclass(frozen=True)
class Epsilon(Rule):
    """R_i = sum_j x_i w_ij / (z_j + epsilon sign z_j) R_j: a gradient damped where the output is near zero.

    Bach et al., 2015, eq. 58. With epsilon = 0 it is gradient x input.
    """

    epsilon: Number = STABILISER

    def __call__(self, layer: AffineMap, x: Tensor) -> Tensor:
        z = layer(x)
        return _Damp.apply(z, self.epsilon) if self.epsilon else z


@rule("gamma")
@dataclass(frozen=True)
class Gamma(Rule):
    """R_i = sum_j (c_ij + gamma c_ij^s) / sum_i' (c_i'j + gamma c_i'j^s) R_j, with s the sign of the output z_j.

    `c_ij = x_i w_ij`: the contributions that agree in sign with the output count 1 + gamma times (Montavon et al.,
    2019, sec. 10.2.3; generalised to inputs of both signs in Andéol et al., 2021).
    """

    gamma: Number = 0.25

    def __call__(self, layer: AffineMap, x: Tensor) -> Tensor:
        z = layer(x)
        positive = layer.positive(x)
        # with z = positive + negative, the two denominators need only one more product each
        above, below = z + self.gamma * positive, z + self.gamma * (z - positive)
        return _BySign.apply(z.detach(), above, below)  # type: ignore[no-any-return]  # torch does not annotate it


@rule("z_plus")
@dataclass(frozen=True)
class ZPlus(Rule):
    """R_i = sum_j (x_i w_ij)^+ / sum_i' (x_i' w_i'j)^+ R_j: only positive contributions count.

    Montavon et al., 2017, eq. 18 (alpha-beta with alpha = 1, beta = 0), for inputs of both signs.
    """

    def __call__(self, layer: AffineMap, x: Tensor) -> Tensor:
        with no_grad():
            z = layer(x)
        return distribute(z, [(1.0, layer.positive(x))])


@rule("alpha_beta")
@dataclass(frozen=True)
class AlphaBeta(Rule):
    """R_i = sum_j (alpha c_ij^+ / sum_i' c_i'j^+ - beta c_ij^- / sum_i' c_i'j^-) R_j, with c_ij = x_i w_ij.

    Bach et al., 2015, eq. 60; alpha - beta = 1 conserves relevance where a layer has contributions of both signs.
    """

    alpha: Number = 2.0
    beta: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(self.alpha - self.beta - 1) > 1e-6:
            raise PlanError(f"alpha_beta got alpha = {self.alpha} and beta = {self.beta}, but needs alpha - beta = 1")

    def __call__(self, layer: AffineMap, x: Tensor) -> Tensor:
        with no_grad():
            z = layer(x)
        return distribute(z, [(self.alpha, layer.positive(x)), (-self.beta, layer.negative(x))])


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


class _Damp(torch.autograd.Function):
    """Multiplies the gradient by `z / (z + epsilon sign z) = |z| / (|z| + epsilon)`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, epsilon: float) -> Tensor:
        ctx.epsilon = epsilon
        ctx.save_for_backward(z)
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (z,) = ctx.saved_tensors
        return gradient.addcdiv(gradient, z.abs().add_(ctx.epsilon), value=-ctx.epsilon), None


class _BySign(torch.autograd.Function):
    """The values `z`; their relevance goes to `above` where they are positive, to `below` where negative."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, above: Tensor, below: Tensor) -> Tensor:
        ctx.save_for_backward(z, above, below)
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        z, above, below = ctx.saved_tensors
        relevance = z * gradient
        return (
            None,
            torch.where(z > 0, relevance / stabilised(above), 0),
            torch.where(z < 0, relevance / stabilised(below), 0),
        )
