"""What the rules need to know of a model before they run: its layers in order, their depth, their BatchNorms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from secateur.pipeline.scores.lrp.composite import Depth, LayerType
from secateur.pipeline.scores.lrp.rules import Layer


@dataclass(frozen=True)
class Call:
    """One call of a convolution or linear layer: its type, and whether it sees one vector for each image."""

    kind: LayerType
    flat: bool


@dataclass(frozen=True, eq=False)
class Norm:
    """A BatchNorm in evaluation mode: the `number` of its call in the forward pass, statistics and parameters `[C]`."""

    number: int
    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def folded(self, layer: Layer) -> Layer:
        """The layer and the BatchNorm after it as one layer, the outputs lying along the weight's first dimension."""
        factor = (self.variance + self.eps).rsqrt()
        if self.weight is not None:
            factor = factor * self.weight
        shift = -self.mean * factor if layer.bias is None else (layer.bias - self.mean) * factor
        if self.bias is not None:
            shift = shift + self.bias
        weight = layer.weight * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
        return Layer(layer.operation, weight, shift)


@dataclass(frozen=True, eq=False)
class Layout:
    """The calls of weighted layers in the order of a forward pass, which repeats itself in evaluation mode.

    `norms[call]` is the BatchNorm that alone reads the output of a layer's call: the two are one linear layer
    (canonisation). `attention` says whether the model runs a softmax whose rule can be chosen.
    """

    calls: tuple[Call, ...]
    norms: Mapping[int, Norm]
    attention: bool = False

    def depths(self) -> tuple[Depth, ...]:
        """The depth group of each call."""
        count = len(self.calls)
        classifier = count
        while classifier > 0 and self.calls[classifier - 1].kind == "linear" and self.calls[classifier - 1].flat:
            classifier -= 1
        if classifier in (0, count):  # nothing but vectors, or a classifier of another shape: the last layer alone
            classifier = count - 1
        first, last = math.ceil(classifier / 4), classifier - classifier // 4

        def depth(place: int) -> Depth:
            if place >= classifier:
                return "classifier"
            return "first" if place < first else "last" if place >= last else "middle"

        return tuple(depth(place) for place in range(count))
