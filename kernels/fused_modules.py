"""Modules that compute what modules of timm and ours compute, through the operators of `kernels/ops.py`."""

from __future__ import annotations

import torch
from timm.layers import LayerScale, Mlp
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.core.errors import KernelError
from secateur.kernels import ops
from secateur.kernels.heads import HeadLayout
from secateur.kernels.ragged_attention import RaggedAttention
from secateur.kernels.window_layout import window_layout


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


class FusedWindowAttention(nn.Module):
    """The attention of a Swin block over a whole feature map: roll, windows, bias and shift mask in one operator.

    `attention` maps windows `[B * windows, T, C]`; `window` and `shift` are (down, right). Raises `KernelError` where
    its heads cannot be read (`window_layout`).
    """

    def __init__(self, attention: nn.Module, window: tuple[int, int], shift: tuple[int, int]) -> None:
        super().__init__()
        self.layout = window_layout(attention)
        self.qkv: nn.Linear = attention.get_submodule("qkv")  # type: ignore[assignment]  # the layout says that it is
        self.proj = attention.get_submodule("proj")
        self.window, self.shift = window, shift
        table = attention.get_parameter("relative_position_bias_table")
        index = attention.get_buffer("relative_position_index")
        bias = table[index.reshape(-1)].reshape(*index.shape, self.layout.heads).permute(2, 0, 1)
        self.bias = nn.Buffer(bias.detach().contiguous().clone())

    def forward(self, x: Tensor) -> Tensor:
        """The attention's output `[B, H, W, C]` for the map `x` `[B, H, W, C]` of whole windows."""
        layout = self.layout
        out = ops.window_attention(
            F.linear(x, self.qkv.weight), layout.qk_dims, layout.v_dims, layout.scale, self.window, self.shift,
            self.qkv.bias, self.bias,
        )  # fmt: skip
        projected: Tensor = self.proj(out)
        return projected

    def extra_repr(self) -> str:
        return f"window={self.window}, shift={self.shift}, qk_dims={self.layout.qk_dims}, v_dims={self.layout.v_dims}"


class FusedSwinBlock(nn.Module):
    """A timm `SwinTransformerBlock` without copies of windows, and with one operator for its second normalisation.

    Without `windows` the block's own attention runs, without `residual` an addition and the normalisation.
    """

    def __init__(self, block: SwinTransformerBlock, windows: bool, residual: bool) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        self.residual = residual
        self.attn: nn.Module = TimmWindows(block)
        if windows:
            self.attn = FusedWindowAttention(block.attn, pair(block.window_size), pair(block.shift_size))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output for the map `x` `[B, H, W, C]`."""
        branch, norm = self.attn(self.norm1(x)), self.norm2
        if self.residual:
            x, normed = ops.residual_layernorm(x, branch, None, norm.weight, norm.bias, norm.eps)
        else:
            x = x + branch
            normed = norm(x)
        out: Tensor = x + self.mlp(normed)
        return out


class TimmWindows(nn.Module):
    """The attention of a Swin block as timm computes it: the map rolled and cut into copies of its windows."""

    def __init__(self, block: SwinTransformerBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """The attention's output `[B, H, W, C]` for the map `x` `[B, H, W, C]`."""
        return windows_of(self.block, x)


def windows_of(block: SwinTransformerBlock, x: Tensor) -> Tensor:
    """What a Swin block adds to its map by attention, by its own code: `[B, H, W, C]` for the normalised map `x`."""
    out: Tensor = block._attn(x)  # type: ignore[no-untyped-call]  # of timm, which has no public name for it
    return out


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """(down, right) of a size that may be given once for both."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


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
