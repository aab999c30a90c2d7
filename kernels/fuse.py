"""A model whose attention, MLPs and residual additions run through the operators of `kernels/ops.py`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from timm.layers import LayerNorm, Mlp
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block
from torch import nn

from secateur.core.errors import KernelError
from secateur.core.modules import copied
from secateur.kernels.fused_modules import (
    FusedAttention,
    FusedBlock,
    FusedMlp,
    FusedSwinBlock,
    FusedWindowAttention,
    pair,
    windows_of,
)
from secateur.kernels.heads import HeadLayout
from secateur.kernels.ragged_attention import RaggedAttention

TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""How far a fused model's outputs may be from those of the model itself, as a fraction of the outputs' scale."""

EXACT = 1e-9
"""The same for one attention over windows in float64, by which its reading is proven."""

KERNELS = ("ragged_attention", "window_attention", "bias_gelu", "residual_layernorm")
OFF = {
    "bias_gelu": "reads and writes what the linear layer before it has written, which adds its bias itself at no cost; "
    "no measurement has shown it faster"
}
"""Kernels that no model gets unasked, with the reason."""

DEFAULT = tuple(kernel for kernel in KERNELS if kernel not in OFF)
LAYER_NORMS = (nn.LayerNorm, LayerNorm)


@dataclass(frozen=True)
class Fusion:
    """One module that a kernel could serve; `reason` says why it is left as it is, and is empty where it is served."""

    module: str
    kernel: str
    reason: str = ""

    @property
    def off(self) -> str:
        """Why `fuse` leaves the kernel out unless it is named; empty for one that is taken unasked."""
        return OFF.get(self.kernel, "")


def fuse(model: nn.Module, kernels: Collection[str] = DEFAULT) -> nn.Module:
    """A copy of `model`, in evaluation mode, whose layers run through our operators where they can.

    `RaggedAttention` becomes one `ragged_attention`; a Swin block attends over its whole map in one `window_attention`;
    the blocks of ViTs and Swins add the attention branch and normalise in one `residual_layernorm`; timm's `Mlp` with
    the exact GELU gets `bias_gelu` where `kernels` names it. The outputs agree with those of `model` within
    `TOLERANCE`. The copy runs on every device, and through torch.compile, torch.export and `export_onnx`; it cannot be
    trained. `kernels` names the operators to use, all but those that are `OFF` by default; `fusions` says what becomes
    of each module. Raises `KernelError` when there is nothing to fuse.

    >>> fused = sc.fuse(small)
    >>> torch.allclose(fused(example), small(example), atol=1e-4)
    True
    """
    unknown = [name for name in kernels if name not in KERNELS]
    if unknown:
        raise KernelError(f"there is no kernel {unknown[0]!r} to fuse with: choose from {', '.join(KERNELS)}")
    every = fusions(model)
    found = [one for one in every if one.kernel in kernels]
    chosen = [one for one in found if not one.reason]
    if not chosen:
        left = [f"{one.module}: {one.reason}" for one in found[:3]]
        unnamed = sorted({one.kernel for one in every if not one.reason} - set(kernels))
        reasons = "; ".join([*left, *(f"{kernel} would serve it, but is not among `kernels`" for kernel in unnamed)])
        raise KernelError(
            f"{type(model).__name__} has nothing that the kernels could serve"
            f"{f' ({reasons})' if reasons else ''}: fuse a ViT or a Swin of timm, after pruning it"
        )
    served: dict[str, set[str]] = {}
    for one in chosen:
        served.setdefault(one.module, set()).add(one.kernel)
    model = copied(model).eval()
    for module in sorted(served, key=lambda name: -name.count(".")):  # a block after what is in it
        parent, _, name = module.rpartition(".")
        holder = model.get_submodule(parent)
        setattr(holder, name, _fused(holder.get_submodule(name), served[module]))
    return model.requires_grad_(False)


def fusions(model: nn.Module) -> list[Fusion]:
    """Every module of `model` that a kernel could serve, with the reasons where it is left as it is or off by default.

    >>> sorted({fusion.kernel for fusion in sc.fusions(small) if not fusion.reason and not fusion.off})
    ['ragged_attention', 'residual_layernorm']
    """
    return list(_fusions(model))


def is_fused(model: nn.Module) -> bool:
    """Whether any module of the model runs through our operators."""
    ours = (FusedAttention, FusedMlp, FusedBlock, FusedSwinBlock)
    return any(isinstance(module, ours) for module in model.modules())


def _fused(module: nn.Module, kernels: Collection[str]) -> nn.Module:
    """What takes a module's place."""
    if isinstance(module, RaggedAttention):
        return FusedAttention(module)
    if isinstance(module, SwinTransformerBlock):
        return FusedSwinBlock(module, "window_attention" in kernels, "residual_layernorm" in kernels)
    if isinstance(module, Mlp):
        return FusedMlp(module)
    assert isinstance(module, Block)  # for the type checker: there is no other kind
    return FusedBlock(module)


def _fusions(model: nn.Module) -> Iterator[Fusion]:
    for name, module in model.named_modules():
        if not name:
            continue
        if isinstance(module, RaggedAttention):
            yield Fusion(name, "ragged_attention", _against_attention(module))
        elif type(module) is Mlp:
            yield Fusion(name, "bias_gelu", _against_mlp(module))
        elif type(module) is Block:
            yield Fusion(name, "residual_layernorm", _against_block(module))
        elif type(module) is SwinTransformerBlock:
            yield Fusion(name, "window_attention", _against_windows(module))
            yield Fusion(name, "residual_layernorm", _against_block(module))


def _against_attention(attention: RaggedAttention) -> str:
    if not isinstance(attention.q_norm, nn.Identity) or not isinstance(attention.k_norm, nn.Identity):
        return "its queries and keys are normalised before the product"
    try:
        HeadLayout(attention.qk_dims, attention.v_dims, attention.scale)
    except KernelError as error:
        return str(error)
    return ""


def _against_mlp(mlp: Mlp) -> str:
    if not isinstance(mlp.fc1, nn.Linear) or mlp.fc1.bias is None:
        return "its first layer is no linear layer with a bias"
    if not isinstance(mlp.act, nn.GELU) or mlp.act.approximate != "none":
        return f"its activation is {type(mlp.act).__name__}, and the kernel computes the exact GELU"
    return ""


def _against_windows(block: SwinTransformerBlock) -> str:
    """Its attention is read as heads over windows, and that reading is run against the block's own code."""
    size, window = pair(block.input_resolution), pair(block.window_size)
    if any(length % part for length, part in zip(size, window, strict=True)):
        return f"its map of {size[0]} x {size[1]} is no whole number of windows of {window[0]} x {window[1]}"
    block = copied(block).to("cpu", torch.float64).eval()
    try:
        fused = FusedWindowAttention(block.attn, window, pair(block.shift_size))
    except KernelError as error:
        return str(error)
    shape = (1, *size, fused.qkv.in_features)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = windows_of(block, x), fused(x)
    apart = float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-30))
    return "" if apart < EXACT else f"its attention is not the kernel's: outputs differ by {apart:.2g} of their scale"


def _against_block(block: Block | SwinTransformerBlock) -> str:
    if type(block.norm2) not in LAYER_NORMS or block.norm2.bias is None:
        return f"its second normalisation is {type(block.norm2).__name__}, and the kernel computes LayerNorm"
    return ""
