"""Cutting: a smaller module with the removed units' parameters sliced away, unchecked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.layers import Attention
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.core.input_spec import InputSpec
from secateur.core.modules import copied, evaluating
from secateur.kernels.ragged_attention import RaggedAttention
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.constant import ConstantBranch
from secateur.pipeline.structure.graph.program import SAMPLES
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.history import Units, remember
from secateur.pipeline.structure.module_attributes import resize, resize_norm, update, update_recurrent
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.precision import Precision
from secateur.pipeline.structure.vit import is_mlp


def cut(model: nn.Module, groups: Groups, plan: Plan) -> nn.Module:
    """The smaller module, unchecked: every touched tensor sliced, every module that hard-codes a width rebuilt."""
    dense = canonical(model)
    index = positions_kept(groups, plan.kept)
    names = dict.fromkeys(name for name, _ in index)
    small = copied_with(dense, {name: sliced(tensor_named(dense, name).detach(), name, index) for name in names})
    touched = {name.rpartition(".")[0] for name in names}
    for name in sorted(touched):
        module, shape = small.get_submodule(name), groups.shapes.get(f"{name}.weight")
        if shape is not None:
            rows = index.get((f"{name}.weight", 0))
            update(module, shape, range(shape[0]) if rows is None else rows.tolist())
        elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            first = "weight_ih_l0" if isinstance(module, nn.RNNBase) else "weight_ih"
            update_recurrent(module, groups.shapes[f"{name}.{first}"][0])
        else:  # a module whose tensors have other names, such as an anti-aliasing filter
            for (tensor, dim), stays in index.items():
                if tensor.rpartition(".")[0] == name:
                    resize(module, groups.shapes[tensor][dim], len(stays))
    for name, axis in groups.norms.items():
        resize_norm(small.get_submodule(name), axis.size, axis.length(plan.kept))
    for name, module in list(small.named_modules()):
        if isinstance(module, Attention) and any(f"{name}.{part}" in touched for part in ("qkv", "proj")):
            small.set_submodule(name, _smaller_attention(name, module, groups, plan))
        elif is_mlp(module) and f"{name}.fc2" in touched and module.fc2.in_features == 0:
            small.set_submodule(name, ConstantBranch("fc2", module.fc2.out_features, module.fc2.bias))
    adapt(small, dense, groups, plan.kept)
    remember(small, model, Units(plan, groups.adapted, Precision.of(model)))
    return small


def adapt(small: nn.Module, dense: nn.Module, groups: Groups, kept: Kept) -> None:
    """Gives the modules of `groups.adapted` code of the new sizes where a number in it changes, innermost first.

    Raises `CodeError`, naming all modules whose code cannot be taken over.
    """
    if not groups.adapted or groups.traced is None:
        return
    example = example_for(dense, groups.inputs, batch=SAMPLES)
    errors: dict[str, CodeError] = {}
    for name in sorted(groups.adapted, key=lambda name: -len(name.split(".")) if name else 0):
        try:
            groups.traced.take_over(name, small, dense, example, kept)
        except CodeError as error:
            errors[name] = error
    if errors:
        (name, first), *others = errors.items()
        raise CodeError(name, first.reason, [error for _, error in others])


def example_for(model: nn.Module, inputs: InputSpec | Sequence[int], batch: int = 1, seed: int = 0) -> Any:
    """Seeded random inputs of `batch` samples, or one of the shape `inputs`, on the model's device, in its dtype."""
    parameter = next(model.parameters())
    spec = inputs if isinstance(inputs, InputSpec) else InputSpec.shaped(inputs)
    return spec.draw(batch, seed, parameter.device, parameter.dtype)


def positions_kept(groups: Groups, kept: Kept) -> dict[tuple[str, int], Tensor]:
    """For every (tensor, dim) that loses positions, those that stay, sorted."""
    return {
        key: torch.from_numpy(axis.positions(kept)).nonzero().flatten()
        for key, axis in groups.axes.items()
        if axis.length(kept) < axis.size
    }


def sliced(tensor: Tensor, name: str, index: Mapping[tuple[str, int], Tensor]) -> Tensor:
    """The positions that `index` has for (`name`, dim), for all dimensions of the tensor called `name`.

    Its memory format, such as channels last, stays.
    """
    found = tensor
    for dim in range(tensor.ndim):
        if (name, dim) in index:
            found = found.index_select(dim, index[name, dim].to(tensor.device))
    return in_channels_last(found) if is_channels_last(tensor) else found


_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def is_channels_last(tensor: Tensor) -> bool:
    """Whether a tensor lies in memory with its channels last, and not as tensors usually do."""
    last = _CHANNELS_LAST.get(tensor.ndim)
    return last is not None and tensor.is_contiguous(memory_format=last) and not tensor.is_contiguous()


def in_channels_last(tensor: Tensor) -> Tensor:
    """A tensor of an image's or a volume's weights with its channels last in memory."""
    return tensor.contiguous(memory_format=_CHANNELS_LAST[tensor.ndim])


def copied_with(model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A deep copy of a module with these parameters and buffers, which are not copied: that bounds the memory.

    What modules cache in evaluation mode, such as timm's attention biases, is of the old tensors and is forgotten.
    """
    memo: dict[int, Any] = {}
    for name, tensor in tensors.items():
        old = tensor_named(model, name)
        trained = isinstance(old, nn.Parameter)
        memo[id(old)] = nn.Parameter(tensor, requires_grad=old.requires_grad) if trained else tensor
    past = getattr(model, "secateur_history", None)
    memo[id(past)] = past  # never changed, and long
    with evaluating(model):
        pass  # a change of mode empties the caches, whose tensors could not be copied either
    return copied(model, memo)


def tensor_named(model: nn.Module, name: str) -> Tensor:
    """The parameter or buffer of that name."""
    path, _, leaf = name.rpartition(".")
    tensor = getattr(model.get_submodule(path), leaf)
    assert isinstance(tensor, Tensor)  # for the type checker: groups name parameters and buffers only
    return tensor


def _smaller_attention(name: str, module: Attention, groups: Groups, plan: Plan) -> nn.Module:
    """The attention that is left, with its already sliced layers; a constant when no head is left."""
    heads, dims = module.num_heads, module.head_dim
    qkv = groups.axes.get((f"{name}.qkv.weight", 0))
    if qkv is None:
        raise PlanError(f"{name}: a plan removes values of heads that have no group")
    stays = qkv.positions(plan.kept).reshape(3, heads, dims).sum(axis=2)
    alive = stays[2] > 0
    if not alive.any():
        return ConstantBranch("proj", module.proj.out_features, module.proj.bias)
    return RaggedAttention(
        module.qkv,
        module.proj,
        [int(width) for width in stays[0][alive]],
        [int(width) for width in stays[2][alive]],
        float(module.scale),
        gate=module.gate,
        q_norm=module.q_norm,
        k_norm=module.k_norm,
        norm=module.norm,
        attn_drop=module.attn_drop.p,
        proj_drop=module.proj_drop.p,
    ).train(module.training)
