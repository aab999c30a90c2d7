"""Attributes in which modules repeat the sizes of their parameters, brought up to date after a cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

WIDTHS = ("channels", "num_features", "num_channels", "normalized_shape")
"""Attributes of modules with one width: anti-aliasing filters, normalisations."""


def update(module: nn.Module, dense: tuple[int, ...], rows: Sequence[int]) -> None:
    """Repeats the new sizes in a module's attributes, its weight being the `rows` of one of the shape `dense`."""
    weight = module.weight
    assert isinstance(weight, Tensor)  # for the type checker: the caller has seen its shape
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = weight.shape
    elif isinstance(module, nn.Bilinear):
        module.out_features, module.in1_features, module.in2_features = weight.shape
    elif isinstance(module, _ConvNd):
        in_group = dense[0] // module.groups
        module.groups = len({row // in_group for row in rows})
        narrow, wide = weight.shape[0], weight.shape[1] * module.groups
        transposed = isinstance(module, _ConvTransposeNd)
        module.out_channels, module.in_channels = (wide, narrow) if transposed else (narrow, wide)
    elif isinstance(module, nn.GroupNorm):
        if module.num_groups > 1:
            module.num_groups = module.num_groups * weight.shape[0] // dense[0]
        module.num_channels = weight.shape[0]
    else:
        resize(module, dense[-1], weight.shape[-1])


def update_recurrent(module: nn.RNNBase | nn.RNNCellBase, rows: int) -> None:
    """Repeats the new sizes in a recurrent layer or cell, whose first weight had so many `rows` before."""
    last = "_l0" if isinstance(module, nn.RNNBase) else ""
    read, state = (module.get_parameter(f"weight_{name}{last}") for name in ("ih", "hh"))
    gates = rows // module.hidden_size
    module.input_size, module.hidden_size = read.shape[1], len(read) // gates
    if isinstance(module, nn.RNNBase) and module.proj_size:
        module.proj_size = state.shape[1]


def drops_groups(groups: int, per_group: int) -> bool:
    """Whether units of a grouped convolution are whole groups, as in depthwise ones, or one channel of each group.

    Groups that are parts of heads go with these in both cases.
    """
    return groups > 1 and per_group < groups


def resize_norm(module: nn.Module, old: int, new: int) -> None:
    """Changes the width of a module that normalises, whatever it calls it: it has no other."""
    for inner in module.modules():
        resize(inner, old, new, list(vars(inner)))


def resize(module: nn.Module, old: int, new: int, names: Iterable[str] = WIDTHS) -> None:
    """Changes the width that a module knows itself by."""
    for name in names:
        value = getattr(module, name, None)
        if value == old:
            setattr(module, name, new)
        elif isinstance(value, tuple) and value[-1:] == (old,):
            setattr(module, name, (*value[:-1], new))
