"""A model whose attention, MLPs and residual additions run through the operators of `kernels/ops.py`."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from timm.layers import LayerNorm, LayerScale, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.kernels import ops
from secateur.kernels.errors import KernelError
from secateur.kernels.heads import HeadLayout
from secateur.kernels.ragged_attention import RaggedAttention

TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""How far a fused model's outputs may be from those of the model itself, as a fraction of the outputs' scale."""


KERNELS = ("ragged_attention", "bias_gelu", "residual_layernorm")
LAYER_NORMS = (nn.LayerNorm, LayerNorm)


@dataclass(frozen=True)
class Fusion:
    """One module that a kernel could serve; `reason` says why it is left as it is, and is empty where it is served."""

    module: str
    kernel: str
    reason: str = ""


def fuse(model: nn.Module, kernels: Collection[str] = KERNELS) -> nn.Module:
    """A copy of `model`, in evaluation mode, whose layers run through our operators where they can.

    `RaggedAttention` becomes one `ragged_attention`; timm's `Mlp` with the exact GELU gets `bias_gelu`; timm's `Block`
    adds the attention branch and normalises in one `residual_layernorm`. The outputs agree with those of `model` within
    `TOLERANCE`. The copy runs on every device, and through torch.compile, torch.export and `export_onnx`; it cannot be
    trained. `kernels` names the operators to use; `fusions` says what becomes of each module. Raises `KernelError` when
    there is nothing to fuse.

    >>> fused = sc.fuse(small)
    >>> torch.allclose(fused(example), small(example), atol=1e-4)
    True
    """
    unknown = [name for name in kernels if name not in KERNELS]
    if unknown:
        raise KernelError(f"there is no kernel {unknown[0]!r} to fuse with: choose from {', '.join(KERNELS)}")
    found = [one for one in fusions(model) if one.kernel in kernels]
    chosen = [one for one in found if not one.reason]
    if not chosen:
        reasons = "; ".join(f"{one.module}: {one.reason}" for one in found[:3])
        raise KernelError(
            f"{type(model).__name__} has nothing that the kernels could serve"
            f"{f' ({reasons})' if reasons else ''}: fuse a ViT of timm after pruning it"
        )
    model = copy.deepcopy(model).eval()
    for one in sorted(chosen, key=lambda one: -one.module.count(".")):  # a block after what is in it
        parent, _, name = one.module.rpartition(".")
        holder = model.get_submodule(parent)
        setattr(holder, name, _REPLACEMENTS[one.kernel](holder.get_submodule(name)))
    return model.requires_grad_(False)


def fusions(model: nn.Module) -> list[Fusion]:
    """Every module of `model` that a kernel could serve, with the reason where it is left as it is.

    >>> sorted({fusion.kernel for fusion in sc.fusions(small) if not fusion.reason})
    ['bias_gelu', 'ragged_attention', 'residual_layernorm']
    """
    return list(_fusions(model))


class FusedAttention(nn.Module):
    """A `RaggedAttention` whose heads are computed by one operator."""

    def __init__(self, attention: RaggedAttention) -> None:
        super().__init__()
        self.qkv, self.proj, self.gate, self.norm = attention.qkv, attention.proj, attention.gate, attention.norm
        self.layout = HeadLayout(attention.qk_dims, attention.v_dims, attention.scale)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Attends over the tokens of `x` `[B, N, C]`; returns `[B, N, proj.out_features]`.

        `attn_mask` is boolean (what may be attended to) or added to the logits, and broadcasts to `[B, heads, N, N]`
        with at most one of batch and heads present.
        """
        qkv = self.qkv(x)
        bias, mask = _added(attn_mask, is_causal, qkv, self.layout.heads)
        layout = self.layout
        out = ops.ragged_attention(qkv, layout.qk_dims, layout.v_dims, layout.scale, None, bias, mask)
        out = self.norm(out)
        if self.gate is not None:
            out = out * self.gate(x).sigmoid()
        projected: Tensor = self.proj(out)
        return projected

    def extra_repr(self) -> str:
        return f"qk_dims={self.layout.qk_dims}, v_dims={self.layout.v_dims}, scale={self.layout.scale:.6g}"


class FusedMlp(nn.Module):
    """A timm `Mlp` whose first bias and GELU are one operator."""

    def __init__(self, mlp: Mlp) -> None:
        super().__init__()
        self.fc1, self.fc2, self.norm = mlp.fc1, mlp.fc2, mlp.norm

    def forward(self, x: Tensor) -> Tensor:
        """The MLP of `x` `[..., C]`."""
        hidden = ops.bias_gelu(F.linear(x, self.fc1.weight), self.fc1.bias)
        out: Tensor = self.fc2(self.norm(hidden))
        return out


class FusedBlock(nn.Module):
    """A timm `Block` that adds its attention branch and normalises for its MLP in one operator."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp, self.ls2 = (
            block.norm1, block.attn, block.norm2, block.mlp, block.ls2)  # fmt: skip
        self.scale = block.ls1.gamma if isinstance(block.ls1, LayerScale) else None

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """The block's output for `x` `[B, N, C]`."""
        branch = self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)
        norm = self.norm2
        x, normed = ops.residual_layernorm(x, branch, self.scale, norm.weight, norm.bias, norm.eps)
        out: Tensor = x + self.ls2(self.mlp(normed))
        return out


_REPLACEMENTS = {"ragged_attention": FusedAttention, "bias_gelu": FusedMlp, "residual_layernorm": FusedBlock}


def is_fused(model: nn.Module) -> bool:
    """Whether any module of the model runs through our operators."""
    return any(isinstance(module, tuple(_REPLACEMENTS.values())) for module in model.modules())


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


def _against_block(block: Block) -> str:
    if type(block.norm2) not in LAYER_NORMS or block.norm2.bias is None:
        return f"its second normalisation is {type(block.norm2).__name__}, and the kernel computes LayerNorm"
    return ""


def _added(attn_mask: Tensor | None, is_causal: bool, like: Tensor, heads: int) -> tuple[Tensor | None, Tensor | None]:
    """What the operator calls `bias` (of the heads) and `mask` (of the batch), in the type of `like` `[B, N, .]`."""
    batch, tokens = like.shape[:2]
    if is_causal:
        earlier = torch.ones(tokens, tokens, dtype=torch.bool, device=like.device).tril()
        attn_mask = earlier if attn_mask is None else _additive(attn_mask, like) + _additive(earlier, like)
    if attn_mask is None:
        return None, None
    shape = (1,) * (4 - attn_mask.ndim) + tuple(attn_mask.shape)
    if len(shape) != 4 or shape[0] not in (1, batch) or shape[1] not in (1, heads) or min(shape[:2]) != 1:
        raise KernelError(
            f"an attention mask of shape {list(attn_mask.shape)} was given to {heads} heads and a batch of {batch}: "
            "the kernel takes [N, N], [heads, N, N] or [B, 1, N, N], so use the model without fuse()"
        )
    added = _additive(attn_mask, like).reshape(shape).expand(-1, -1, tokens, tokens)
    return (added[0], None) if shape[0] == 1 else (None, added[:, 0])


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """The mask as what is added to logits, in the type of `like`."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, -torch.inf)
