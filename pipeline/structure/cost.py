"""What the layers of a model cost: multiply-accumulates as products of lengths that pruning changes."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.pipeline.structure.groups import Axis, Term


def reuse_by_layer(model: nn.Module, example: Tensor) -> dict[str, float]:
    """How often each weight element of every linear and convolution layer is used for one sample.

    A layer's MACs are that number times the elements of its weight: positions (tokens or pixels) for a linear or
    convolution, since each output position uses each weight element once. `example` is `[B, ...]`.
    """
    reuse: dict[str, float] = {}
    hooks = []

    def count(name: str, channels: int) -> None:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            reuse[name] = reuse.get(name, 0.0) + output.numel() / example.shape[0] / channels

        hooks.append(model.get_submodule(name).register_forward_hook(hook))

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            count(name, module.out_features)
        elif isinstance(module, nn.Conv2d):
            count(name, module.out_channels)
    was_training = model.training
    model.eval()
    try:
        model(example)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return reuse


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
