"""What the layers of a model cost: multiply-accumulates as products of lengths that pruning changes."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.pipeline.structure.groups import Axis, Term


def layer_terms(model: nn.Module, reuse: dict[str, float], axes: dict[tuple[str, int], Axis]) -> list[Term]:
    """One term for each layer in `reuse`: its MACs as a product of the weight's first two lengths."""
    terms = []
    for name, times in reuse.items():
        weight = model.get_submodule(name).weight
        assert isinstance(weight, Tensor)  # for the type checker: linear and convolution layers have one
        out_axis, in_axis = (axes.get((f"{name}.weight", dim), Axis(weight.shape[dim])) for dim in (0, 1))
        taps = weight[0, 0].numel()  # kernel positions; 1 for a linear layer
        terms.append(Term(name, times * taps, (out_axis, in_axis)))
    return terms
