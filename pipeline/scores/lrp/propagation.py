"""The context in which a model's forward pass builds a graph whose backward pass propagates relevance.

A first pass notes the model's layers in order, their depth and their BatchNorms (`Layout`).
No module is patched: the torch functions are intercepted while the context is open, so that a model is untouched
whatever happens inside, and functional code follows the same rules as modules do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from secateur.core.errors import ModelError
from secateur.pipeline.scores.lrp.attention import SOFTMAX_RULES, Softmax, taylor
from secateur.pipeline.scores.lrp.composite import Composite, Depth, LayerType
from secateur.pipeline.scores.lrp.gradients import shared
from secateur.pipeline.scores.lrp.operations import (
    ATTENTION,
    CONVOLUTIONS,
    TABLE,
    TRANSPOSED,
    Arguments,
    Function,
    Keywords,
)
from secateur.pipeline.scores.lrp.rules import AffineMap, Rule
from secateur.pipeline.statistics.weight_products import PRODUCTS, by_parameter

_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_SHAPES = {"size", "dim", "numel", "stride", "type", "__len__", "__get__", "is_floating_point", "requires_grad_"}
CONSERVED = 1e-2
"""The share of relevance that rounding may lose in a function, half precision included."""


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

    def folded(self, layer: AffineMap) -> AffineMap:
        """The layer and the BatchNorm after it as one layer, the outputs lying along the weight's first dimension."""
        factor = (self.variance + self.eps).rsqrt()
        if self.weight is not None:
            factor = factor * self.weight
        shift = -self.mean * factor if layer.bias is None else (layer.bias - self.mean) * factor
        if self.bias is not None:
            shift = shift + self.bias
        weight = layer.weight * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
        return AffineMap(layer.operation, weight, shift)


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


class Recorder(TorchFunctionMode):
    """Notes the calls of weighted layers, and which BatchNorm alone reads which layer; computes as usual."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax: Softmax = taylor
        self._calls: list[Call] = []
        self._outputs: dict[int, tuple[Tensor, int]] = {}  # the tensors are held, so that their ids stay theirs
        self._reads: dict[int, int] = {}
        self._norms: dict[int, Norm] = {}
        self._norm_calls = 0
        self._attention = False

    def layout(self) -> Layout:
        """What was noted; a layer's output that others read too is not folded into its BatchNorm."""
        norms = {call: norm for call, norm in self._norms.items() if self._reads[call] == 1}
        return Layout(tuple(self._calls), norms, self._attention)

    def __torch_function__(
        self, func: Function, types: Any, args: Arguments = (), kwargs: Keywords | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.clone and id(args[0]) in self._outputs:  # a copy is the output still
            copied = func(*args, **kwargs)
            self._outputs[id(copied)] = (copied, self._outputs[id(args[0])][1])
            return copied
        if getattr(func, "__name__", "") not in _SHAPES:
            for value in (*args, *kwargs.values()):
                for tensor in value if isinstance(value, list | tuple) else (value,):
                    if id(tensor) in self._outputs:
                        call = self._outputs[id(tensor)][1]
                        self._reads[call] = self._reads.get(call, 0) + 1
        self._attention |= func in ATTENTION
        layer = func in (F.linear, F.batch_norm, F.multi_head_attention_forward, *CONVOLUTIONS, *TRANSPOSED)
        if layer or (func in PRODUCTS and by_parameter(func, args, kwargs)):
            return TABLE[func](self, func, args, kwargs)
        return func(*args, **kwargs)

    def weighted(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        """The layer's output, its call noted."""
        x, layer = _layer(func, args, kwargs)
        self._calls.append(Call("linear" if func is F.linear else "convolution", func is F.linear and x.ndim == 2))
        y = layer(x)
        if func not in TRANSPOSED:  # their outputs do not lie along the weight's first dimension
            self._outputs[id(y)] = (y, len(self._calls) - 1)
        return y

    def normalised(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        """The BatchNorm's output, with what it reads noted."""
        given = {**dict(zip(_NORM, args, strict=False)), **kwargs}
        number, self._norm_calls = self._norm_calls, self._norm_calls + 1
        _, call = self._outputs.get(id(given["input"]), (None, None))
        if call is not None and not given.get("training", False) and given["running_mean"] is not None:
            self._norms[call] = Norm(
                *(number, given["running_mean"], given["running_var"], given.get("weight"), given.get("bias")),
                eps=given.get("eps", 1e-5),
            )
        out: Tensor = func(*args, **kwargs)
        return out


class Propagation(TorchFunctionMode):
    """Applies a composite to one forward pass; open it around the model, take gradients outside of it."""

    def __init__(self, layout: Layout, composite: Composite) -> None:
        super().__init__()
        self._layout = layout
        depths = zip(layout.calls, layout.depths(), strict=True)
        self._rules: list[Rule] = [composite.rule(depth, call.kind) for call, depth in depths]
        self.softmax: Softmax = SOFTMAX_RULES[composite.attention]
        self._folded = {norm.number for norm in layout.norms.values()}
        self._calls = self._norm_calls = 0

    def __torch_function__(
        self, func: Function, types: Any, args: Arguments = (), kwargs: Keywords | None = None
    ) -> Any:
        step = TABLE.get(func)
        if step is None:
            return func(*args, **(kwargs or {}))
        return step(self, func, args, kwargs or {})

    def weighted(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        """The layer's output by its rule, with a BatchNorm that follows it already applied."""
        call, self._calls = self._calls, self._calls + 1
        if call >= len(self._rules):
            raise ModelError(
                f"the model ran more than the {len(self._rules)} layers of its first pass: relevance needs a model "
                "that computes the same for every image; score it by taylor"
            )
        x, layer = _layer(func, args, kwargs)
        if call in self._layout.norms:
            layer = self._layout.norms[call].folded(layer)
        if not x.requires_grad:
            return layer(x)
        if layer.weight.requires_grad:  # weights that depend on the image
            return shared(lambda inputs, weight: layer.operation(inputs, weight, layer.bias), x, layer.weight)
        return self._rules[call](layer, x)

    def normalised(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        """The input where the BatchNorm was folded; else the plain BatchNorm, which is linear in evaluation mode."""
        number, self._norm_calls = self._norm_calls, self._norm_calls + 1
        out: Tensor = (args[0] if args else kwargs["input"]) if number in self._folded else func(*args, **kwargs)
        return out


class Conservation(Propagation):
    """A propagation that notes where functions without a rule, which keep their own gradient, lose relevance.

    Relevance is the gradient times the value. A function is right where it hands on to its inputs what comes in at
    its outputs, less what constants add (as biases do): g f'(x) x = g (f(x) - f(0)).
    """

    def __init__(self, layout: Layout, composite: Composite) -> None:
        super().__init__(layout, composite)
        self._sums: dict[str, tuple[float, float]] = {}

    def lost(self) -> dict[str, float]:
        """The share of the relevance that goes through each function and is lost or made there, where it is one."""
        shares = {name: gap / through for name, (gap, through) in self._sums.items() if through > 0}
        return {name: share for name, share in shares.items() if not share <= CONSERVED}

    def __torch_function__(
        self, func: Function, types: Any, args: Arguments = (), kwargs: Keywords | None = None
    ) -> Any:
        name = getattr(func, "__name__", str(func))
        given = (args, kwargs or {})
        inputs = [leaf for leaf in tree_leaves(given) if _differentiable(leaf)]
        if func in TABLE or name in _SHAPES or not inputs or not torch.is_grad_enabled():
            return super().__torch_function__(func, types, args, kwargs)
        leaves = {id(x): x.detach().clone().requires_grad_() for x in inputs}

        def run(replace: Callable[[Tensor], Tensor]) -> list[Any]:
            new_args, new_kwargs = tree_map(lambda leaf: replace(leaf) if id(leaf) in leaves else leaf, given)
            return tree_leaves(func(*new_args, **new_kwargs))

        local = run(lambda x: leaves[id(x)].clone())  # copies, since it may write in place
        with torch.no_grad():
            at_zero = run(torch.zeros_like)
        out = func(*args, **(kwargs or {}))
        for made, alike, zero in zip(tree_leaves(out), local, at_zero, strict=True):
            if _differentiable(made) and _differentiable(alike):
                made.register_hook(partial(self._compare, name, alike, zero, list(leaves.values())))
        return out

    def _compare(self, name: str, made: Tensor, at_zero: Tensor, inputs: list[Tensor], gradient: Tensor | None) -> None:
        """Adds what comes in at an output of a function, and how far that is from what goes out at its inputs.

        All that comes in is made positive, since what is right is so for every gradient, and nothing can cancel.
        """
        if gradient is None:  # one of several outputs that nothing reads
            return
        change = (made.detach() - at_zero).nan_to_num(0, 0, 0)
        gradient = gradient.abs() * change.sign()
        found = torch.autograd.grad(made, inputs, gradient, retain_graph=True, allow_unused=True)
        into = float((gradient * change).sum(dtype=torch.float64))
        parts = [(g * x.detach()).double() for g, x in zip(found, inputs, strict=True) if g is not None]
        outof, size = (float(sum(part.sum() for part in of)) for of in (parts, [part.abs() for part in parts]))
        gap, through = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (gap + abs(into - outof), through + max(into, size))


def _differentiable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad


def _layer(func: Function, args: Arguments, kwargs: Keywords) -> tuple[Tensor, AffineMap]:
    """The input of a weighted operation, and the rest of it."""
    given = {**dict(zip(("input", "weight", "bias"), args, strict=False)), **kwargs}
    x, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
    rest = args[3:]
    return x, AffineMap(lambda inputs, w, b: func(inputs, w, b, *rest, **given), weight, bias)
