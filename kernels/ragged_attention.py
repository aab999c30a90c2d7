"""Self-attention whose heads may have different query/key and value widths, as pruning leaves them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RaggedAttention(nn.Module):
    """Multi-head self-attention over a packed projection with per-head widths.

    `qkv` maps `[B, N, C]` to `[B, N, sum(q) + sum(k) + sum(v)]`: the queries of all heads, then all keys, then all
    values; head `h` has `qk_dims[h]` query and key dimensions and `v_dims[h]` value dimensions. `proj` reads the
    heads' values side by side, `[B, N, sum(v)]`. `scale` is that of the dense model, whatever the widths are now:
    softmax(scale q k^T) v (Vaswani et al., 2017, eq. 1).
    """

    def __init__(
        self,
        qkv: nn.Linear,
        proj: nn.Linear,
        qk_dims: Sequence[int],
        v_dims: Sequence[int],
        scale: float,
        gate: nn.Linear | None = None,
        q_norm: nn.Module | None = None,
        k_norm: nn.Module | None = None,
        norm: nn.Module | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.qkv = qkv
        self.proj = proj
        self.gate = gate
        self.q_norm = q_norm or nn.Identity()
        self.k_norm = k_norm or nn.Identity()
        self.norm = norm or nn.Identity()
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj_drop = nn.Dropout(proj_drop)
        self.qk_dims = tuple(qk_dims)
        self.v_dims = tuple(v_dims)
        self.scale = scale
        widths = 2 * sum(self.qk_dims) + sum(self.v_dims)
        if qkv.out_features != widths or proj.in_features != sum(self.v_dims) or len(self.qk_dims) != len(self.v_dims):
            raise ValueError(
                f"qkv makes {qkv.out_features} and proj reads {proj.in_features} features, "
                f"but the heads {self.qk_dims} and {self.v_dims} need {widths} and {sum(self.v_dims)}"
            )

    @property
    def num_heads(self) -> int:
        """How many heads are left."""
        return len(self.v_dims)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Attends over the tokens of `x` `[B, N, C]`; returns `[B, N, proj.out_features]`."""
        sizes = [sum(self.qk_dims), sum(self.qk_dims), sum(self.v_dims)]
        q, k, v = torch.split(self.qkv(x), sizes, dim=-1)
        if len(set(self.qk_dims)) == 1 and len(set(self.v_dims)) == 1:
            widths = self.qk_dims[0], self.v_dims[0]
            out = self._heads(q, k, v, self.num_heads, widths, attn_mask, is_causal)
        else:
            out = self._ragged(q, k, v, attn_mask, is_causal)
        out = self.norm(out)
        if self.gate is not None:
            out = out * self.gate(x).sigmoid()
        projected: Tensor = self.proj_drop(self.proj(out))
        return projected

    def _heads(
        self, q: Tensor, k: Tensor, v: Tensor, heads: int, widths: tuple[int, int], mask: Tensor | None, causal: bool
    ) -> Tensor:
        """Attention of `heads` heads of equal `widths` (query/key, value), `[B, N, heads * width]` in and out."""
        q, k = (torch.unflatten(part, -1, (heads, widths[0])).transpose(1, 2) for part in (q, k))
        v = torch.unflatten(v, -1, (heads, widths[1])).transpose(1, 2)
        out = F.scaled_dot_product_attention(
            self.q_norm(q),
            self.k_norm(k),
            v,
            attn_mask=mask,
            dropout_p=self.attn_drop.p if self.training else 0.0,
            is_causal=causal,
            scale=self.scale,
        )
        return out.transpose(1, 2).flatten(2)

    def _ragged(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """Attention of heads of unequal widths: one call for each distinct pair of widths, in the heads' order."""
        widths = (self.qk_dims, self.qk_dims, self.v_dims)
        parts = [torch.split(x, list(sizes), dim=-1) for x, sizes in zip((q, k, v), widths, strict=True)]
        outputs: dict[int, Tensor] = {}
        for pair in sorted(set(zip(self.qk_dims, self.v_dims, strict=True))):
            heads = [h for h in range(self.num_heads) if (self.qk_dims[h], self.v_dims[h]) == pair]
            q, k, v = (torch.cat([part[h] for h in heads], dim=-1) for part in parts)
            out = self._heads(q, k, v, len(heads), pair, mask, causal)
            pieces = torch.split(out, pair[1], dim=-1)
            outputs.update({head: pieces[place] for place, head in enumerate(heads)})
        return torch.cat([outputs[h] for h in range(self.num_heads)], dim=-1)

    def extra_repr(self) -> str:
        return f"qk_dims={self.qk_dims}, v_dims={self.v_dims}, scale={self.scale:.6g}"
